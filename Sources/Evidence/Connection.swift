/// One TCP connection on a watched port, and how it ended: what the packet probe concluded.
///
/// A connection is observed when its close is understood, and again, with the same `id` and more in
/// it, when later packets change the picture (the RST that answers a request sent into a FIN).
public struct Connection: Hashable, Codable, Sendable {
  /// Unique within one capture, in order of the first packet, from 1.
  public var id: UInt64
  public var flow: Flow
  /// Zeek's conn.log `conn_state`.
  public var connState: ConnState
  /// Zeek's conn.log `history`.
  public var history: String
  public var firstPacket: Timestamp
  public var lastPacket: Timestamp
  /// Zeek's conn.log `duration`: without the packets that trail in after both sides closed; nil when
  /// it is zero, as there.
  public var duration: TimeSpan?
  /// The first FIN or RST, from either side; nil while the connection is open.
  public var closedAt: Timestamp?
  /// Payload bytes from sequence numbers, as Zeek counts them; nil where the capture cannot tell.
  public var originatorBytes: UInt64?
  public var responderBytes: UInt64?
  public var originatorPackets: UInt64
  public var responderPackets: UInt64
  /// SYN to the ACK that completes the handshake; nil when not all three were seen.
  public var rtt: TimeSpan?

  public var closer: Closer
  /// Nil while it is open.
  public var manner: Manner?
  public var phase: Phase
  public var requestDelivery: RequestDelivery
  /// From the last payload byte of either side to the close; nil when open or without payload.
  public var idleBeforeClose: TimeSpan?
  /// Requests begun on this connection, by turns of direction; nil where that cannot be told (TLS,
  /// HTTP/2, a capture that starts later).
  public var exchanges: Int?
  /// Whether the SYN was seen: without it, neither the start nor the reuse count is known.
  public var sawStart: Bool

  /// When the first byte of the last request was sent; nil without one.
  public var requestSentAt: Timestamp?
  /// Payload bytes of the last request.
  public var requestBytes: UInt64?
  /// Payload bytes that answered it.
  public var responseBytes: UInt64?
  /// `METHOD target` of the last request when it got no complete answer, without its query string
  /// and without the version; nil when it is not plain HTTP/1, or was answered.
  public var request: String?
  /// The last request was sent when the responder's FIN had already gone out (a stale race), whether
  /// or not the originator's stack had seen it.
  public var requestAfterFIN: Bool
  /// The kind of each side's first RST, and when.
  public var originatorReset: Reset?
  public var responderReset: Reset?
  /// When each side sent its first FIN.
  public var originatorFIN: Timestamp?
  public var responderFIN: Timestamp?
  /// Positive marks that a reset was not the responder's own, each in words (empty: none).
  public var forgeryMarks: [String]
  /// Only its SYN, FIN and RST were captured, at least towards its end: phase, exchanges, delivery and
  /// idle time are unknown or nil, unless something else (the socket's own record) tells them.
  public var isLight: Bool

  public init(
    id: UInt64, flow: Flow, connState: ConnState, history: String, firstPacket: Timestamp,
    lastPacket: Timestamp, duration: TimeSpan? = nil, closedAt: Timestamp? = nil,
    originatorBytes: UInt64? = nil,
    responderBytes: UInt64? = nil, originatorPackets: UInt64 = 0, responderPackets: UInt64 = 0,
    rtt: TimeSpan? = nil, closer: Closer = .none, manner: Manner? = nil, phase: Phase = .idle,
    requestDelivery: RequestDelivery = .unknown, idleBeforeClose: TimeSpan? = nil,
    exchanges: Int? = nil, sawStart: Bool = true, requestSentAt: Timestamp? = nil,
    requestBytes: UInt64? = nil, responseBytes: UInt64? = nil, request: String? = nil,
    requestAfterFIN: Bool = false, originatorReset: Reset? = nil, responderReset: Reset? = nil,
    originatorFIN: Timestamp? = nil, responderFIN: Timestamp? = nil, forgeryMarks: [String] = [],
    isLight: Bool = false
  ) {
    self.id = id
    self.flow = flow
    self.connState = connState
    self.history = history
    self.firstPacket = firstPacket
    self.lastPacket = lastPacket
    self.duration = duration
    self.closedAt = closedAt
    self.originatorBytes = originatorBytes
    self.responderBytes = responderBytes
    self.originatorPackets = originatorPackets
    self.responderPackets = responderPackets
    self.rtt = rtt
    self.closer = closer
    self.manner = manner
    self.phase = phase
    self.requestDelivery = requestDelivery
    self.idleBeforeClose = idleBeforeClose
    self.exchanges = exchanges
    self.sawStart = sawStart
    self.requestSentAt = requestSentAt
    self.requestBytes = requestBytes
    self.responseBytes = responseBytes
    self.request = request
    self.requestAfterFIN = requestAfterFIN
    self.originatorReset = originatorReset
    self.responderReset = responderReset
    self.originatorFIN = originatorFIN
    self.responderFIN = responderFIN
    self.forgeryMarks = forgeryMarks
    self.isLight = isLight
  }
}

/// A reset, told from one packet (Linux `net/ipv4/tcp_ipv4.c`, `net/ipv4/tcp_output.c`).
public struct Reset: Hashable, Codable, Sendable {
  public var time: Timestamp
  public var manner: Manner

  public init(time: Timestamp, manner: Manner) {
    self.time = time
    self.manner = manner
  }
}

/// Zeek's `conn_state` (scripts/base/protocols/conn/main.zeek).
public enum ConnState: String, Hashable, Codable, Sendable, CaseIterable {
  /// SYN seen, no reply.
  case s0 = "S0"
  /// Established, not terminated.
  case s1 = "S1"
  /// Established and closed by both.
  case sf = "SF"
  /// SYN answered by RST.
  case rej = "REJ"
  /// Established, close attempt by the originator, no reply.
  case s2 = "S2"
  /// Established, close attempt by the responder, no reply.
  case s3 = "S3"
  /// Established, originator aborted.
  case rsto = "RSTO"
  /// Responder reset.
  case rstr = "RSTR"
  /// Originator sent a SYN, then a RST; no SYN-ACK seen.
  case rstos0 = "RSTOS0"
  /// Responder sent a SYN-ACK, then a RST; the SYN was not seen.
  case rstrh = "RSTRH"
  /// Originator sent SYN and FIN; no SYN-ACK seen.
  case sh = "SH"
  /// Responder sent SYN-ACK and FIN; no SYN seen.
  case shr = "SHR"
  /// Neither SYN seen: midstream traffic.
  case oth = "OTH"
}

/// Who ended a connection first.
public enum Closer: String, Hashable, Codable, Sendable, CaseIterable {
  /// nginx.
  case originator
  /// The backend, or its kernel.
  case responder
  /// Something in between, on positive marks only.
  case middlebox
  case unknown
  /// Nobody yet.
  case none
}

/// How a connection was ended.
public enum Manner: String, Hashable, Codable, Sendable, CaseIterable {
  case fin
  /// ACK set, live window, timestamps if negotiated: an application or its kernel aborted.
  case activeReset
  /// No ACK bit, the sequence number of the provoking ACK, window 0: no socket there any more.
  case passiveReset
  /// A reset that answers a SYN: nothing listens.
  case refused
  /// No answer to a SYN, or retransmissions until the end.
  case timeout
}

/// What a connection was doing when it ended.
public enum Phase: String, Hashable, Codable, Sendable, CaseIterable {
  case connecting
  case tlsHandshake
  case idle
  case sendingRequest
  case awaitingResponse
  case receivingResponse
  /// What would tell was not captured, or is encrypted: whether an answer that had begun was whole.
  case unknown
}

/// What the backend's kernel did with the request of the failed exchange. Only `neverSent` and
/// `rejected` prove that no application has read it.
public enum RequestDelivery: String, Hashable, Codable, Sendable, CaseIterable {
  case neverSent
  /// A passive reset, from a socket that was gone, answered it.
  case rejected
  case partlyAcknowledged
  case acknowledged
  case unknown
}
