import Evidence

/// The text behind ` while `: what nginx was doing, as the phases of an upstream's exchange.
enum ActionPhase {
  case connecting, tls, sending, header, body, upgraded
  /// `proxying connection` and its like, of the stream module.
  case streaming
  /// Something with the client, or nothing that is known.
  case other

  init(_ bytes: Span<UInt8>, _ range: Range<Int>?) {
    guard let range else {
      self = .other
      return
    }
    func `is`(_ words: StaticString) -> Bool {
      words.utf8CodeUnitCount == range.count && bytes.has(words, at: range.lowerBound)
    }
    if `is`("connecting to upstream") {
      self = .connecting
    } else if `is`("SSL handshaking to upstream") {
      self = .tls
    } else if `is`("sending request to upstream") {
      self = .sending
    } else if `is`("reading response header from upstream") || `is`("sending early hints to client")
    {
      self = .header
    } else if `is`("reading upstream") || `is`("sending to client") {
      self = .body
    } else if `is`("proxying upgraded connection") {
      self = .upgraded
    } else if bytes.has("proxying ", at: range.lowerBound) {
      self = .streaming
    } else {
      self = .other
    }
  }
}

/// What is known of a line beside its text when its kind is decided.
struct LineTraits {
  var level: LogLevel
  var phase: ActionPhase
  /// The action is `sending to client`: nginx's last handler was the client's.
  var isSendingToClient: Bool
  var hasErrno: Bool
  /// It belongs to a client's connection, and the entry names it.
  var hasClient: Bool
  var hasUpstream: Bool
  /// A session of the stream module.
  var isStream: Bool
}

extension NginxMessage {
  /// The kind of a line.
  ///
  /// The level tells the sides apart where the text and the action are shared: what happens to a
  /// client's connection is logged at `info` (or `alert` for an unusual errno), to an upstream's at
  /// `error` (nginx-1.22.1, src/core/ngx_connection.c:1486-1542,
  /// src/http/ngx_http_request.c:322, src/http/ngx_http_upstream.c:498).
  init(_ text: KnownText, _ traits: LineTraits) {
    let phase = traits.phase
    let isUpstreamSide = traits.level <= .error
    switch text {
    // nginx's resolver and syslog connect too, without a client.
    case .connect: self = traits.hasClient ? .connectFailed : .other
    case .connectTo: self = traits.hasClient ? .connectRefusedAtOnce : .other
    case .bind: self = traits.hasClient ? .bindFailed : .other
    case .socket: self = traits.hasClient ? .socketFailed : .other
    case .workerConnections:
      // Without an exchange it was the accept of a client that failed.
      self = phase == .connecting ? .workerConnectionsExhausted : .other
    case .upstreamTimedOut: self = Self.timedOut(traits)
    case .connectionTimedOut: self = phase == .streaming ? .streamTimedOut : .other
    case .noLiveUpstreams: self = .noLiveUpstreams
    case .temporarilyDisabled: self = .temporarilyDisabled
    case .nameResolution: self = traits.hasClient ? .nameResolutionFailed : .other
    case .noPort: self = .noPort
    case .tlsClosed: self = phase == .tls ? .tlsClosed : .other
    case .tlsHandshake: self = phase == .tls ? .tlsHandshakeFailed : .other
    case .tlsCertificate: self = .tlsCertificateRejected
    case .tlsRead, .tlsWrite: self = Self.tlsTransfer(text, traits)
    case .write, .read:
      self = isUpstreamSide ? Self.transfer(text, traits) : .other
    case .prematurelyClosed: self = phase == .body ? .bodyClosed : .prematurelyClosed
    case .upstreamClosed: self = traits.hasErrno ? .bodyRecvFailed : .bodyClosed
    case .prematureResponse: self = .prematureResponse
    // At `info` (early hints, sent by no one's fault) and `warn` (`..., ignored`) nothing failed.
    case .headerTooBig: self = isUpstreamSide ? .headerTooBig : .other
    case .invalidResponse: self = isUpstreamSide ? .invalidResponse : .other
    case .protocolError: self = isUpstreamSide ? .protocolError : .other
    case .noValidHeader: self = .noValidHeader
    case .invalidChunked: self = .invalidChunked
    case .extraData: self = .extraData
    case .upgradeInSubrequest: self = .upgradedFailed
    case .streamError: self = .streamFailed
    case .streamEnded: self = .streamEnded
    case .clientReported: self = .clientClosed
    // The same words without an upstream: the client left before its request was complete.
    case .clientClosed: self = traits.hasUpstream ? .clientClosed : .other
    case .stderr: self = .applicationMessage
    case .reload: self = traits.hasClient ? .other : .reload
    case .lifecycle: self = traits.hasClient ? .other : .lifecycle
    case .crashed where traits.hasClient: self = .other
    case .crashed: self = traits.level == .alert ? .workerCrashed : .lifecycle
    case .reopening: self = traits.hasClient ? .other : .logsReopened
    }
  }

  private static func timedOut(_ traits: LineTraits) -> NginxMessage {
    switch traits.phase {
    case .connecting: .connectTimedOut
    case .tls: .tlsTimedOut
    case .sending: .sendTimedOut
    case .header: .headerTimedOut
    case .body: .bodyTimedOut
    case .upgraded: .upgradedTimedOut
    case .streaming: .streamTimedOut
    // The mail module's; and a line cut before its action cannot be (the buffer is longer).
    case .other: traits.hasUpstream && traits.level <= .error ? .headerTimedOut : .other
    }
  }

  /// `SSL_read()` and `SSL_write()`: `crit` says nothing of the side, so the action must.
  private static func tlsTransfer(_ text: KnownText, _ traits: LineTraits) -> NginxMessage {
    guard traits.level <= .error, traits.hasUpstream else { return .other }
    switch traits.phase {
    case .upgraded: return .upgradedFailed
    case .streaming: return .streamFailed
    case .other: return .other
    case .body where traits.isSendingToClient && text == .tlsWrite: return .other
    default: return .tlsTransferFailed
    }
  }

  private static func transfer(_ text: KnownText, _ traits: LineTraits) -> NginxMessage {
    switch traits.phase {
    case .upgraded: return .upgradedFailed
    case .streaming: return .streamFailed
    case .other: return .other
    case .connecting, .tls, .sending, .header: return text == .write ? .sendFailed : .recvFailed
    case .body:
      // `alert` is the level of an unusual errno on either side: of a write to the client here.
      if traits.level == .alert, traits.isSendingToClient { return .other }
      // gRPC writes (window updates) while it reads a body; for the client it is the same cut.
      return .bodyRecvFailed
    }
  }
}

extension NginxMessage {
  /// What explains upstream failures without being one, and is rare enough to be told always.
  var isWantedBesideFailures: Bool {
    switch self {
    case .temporarilyDisabled, .reload, .workerCrashed: true
    default: false
    }
  }
}
