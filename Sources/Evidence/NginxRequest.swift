/// One line of an nginx access log that matters for an incident: a try failed, the client got less
/// than it was promised, or left. Ordinary requests are only counted (`UpstreamTraffic`).
public struct NginxRequest: Hashable, Codable, Sendable {
  /// What the client got: 0 for nginx's `000` (shut down meanwhile), 9 for `009` (HTTP/0.9), 499 when
  /// it left first.
  public var status: Int
  /// `$pid`.
  public var worker: Int32?
  /// `$connection`: the `*N` of the error log.
  public var connection: UInt64?
  /// `$connection_requests`: which request of that connection it is, from 1.
  public var connectionRequests: Int?
  public var client: String?
  /// The request line, query string removed unless asked for.
  public var request: String?
  public var bodyBytesSent: UInt64?
  /// Of the response's header; nil when it had none (chunked).
  public var contentLength: UInt64?
  /// From the first byte read of the client to the last sent.
  public var duration: TimeSpan?
  /// Every try of an upstream, in order; empty when none was made.
  public var tries: [UpstreamTry]
  /// Which log it came from, and the offset of its first byte.
  public var path: String
  public var offset: UInt64

  public init(
    status: Int, worker: Int32? = nil, connection: UInt64? = nil, connectionRequests: Int? = nil,
    client: String? = nil, request: String? = nil, bodyBytesSent: UInt64? = nil,
    contentLength: UInt64? = nil, duration: TimeSpan? = nil, tries: [UpstreamTry] = [],
    path: String = "", offset: UInt64 = 0
  ) {
    self.status = status
    self.worker = worker
    self.connection = connection
    self.connectionRequests = connectionRequests
    self.client = client
    self.request = request
    self.bodyBytesSent = bodyBytesSent
    self.contentLength = contentLength
    self.duration = duration
    self.tries = tries
    self.path = path
    self.offset = offset
  }

  /// Whether the client got fewer bytes than the header promised. It looks the same whether the
  /// backend broke off or the client left: only the error log tells.
  public var isCut: Bool {
    guard let contentLength, let bodyBytesSent, bodyBytesSent < contentLength, status != 304 else {
      return false
    }
    return !(request?.hasPrefix("HEAD ") ?? false)
  }
}

/// One try of one request, as `$upstream_addr` and its like list them.
public struct UpstreamTry: Hashable, Codable, Sendable {
  /// A group's name when no peer was left.
  public var peer: UpstreamPeer?
  /// 502 and 504 are nginx's own; nil when it was given up (the client left, a shutdown).
  public var status: Int?
  /// Resolution 1 ms; nil when the request was never written (refused, no handshake).
  public var connectTime: TimeSpan?
  /// Nil when the header was never complete.
  public var headerTime: TimeSpan?
  public var responseTime: TimeSpan?
  /// What the socket took of the request; before encryption.
  public var bytesSent: UInt64?
  /// Header and body; after decryption.
  public var bytesReceived: UInt64?
  /// It was not a second try of the same request but came of an internal redirect (` : `).
  public var followsRedirect: Bool

  public init(
    peer: UpstreamPeer? = nil, status: Int? = nil, connectTime: TimeSpan? = nil,
    headerTime: TimeSpan? = nil, responseTime: TimeSpan? = nil, bytesSent: UInt64? = nil,
    bytesReceived: UInt64? = nil, followsRedirect: Bool = false
  ) {
    self.peer = peer
    self.status = status
    self.connectTime = connectTime
    self.headerTime = headerTime
    self.responseTime = responseTime
    self.bytesSent = bytesSent
    self.bytesReceived = bytesReceived
    self.followsRedirect = followsRedirect
  }

  /// Whether nginx took it for failed: its own 502 or 504. (A backend that answers 502 itself looks the
  /// same.)
  public var failed: Bool { status == 502 || status == 504 }
}
