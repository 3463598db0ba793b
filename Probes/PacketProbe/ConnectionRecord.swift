/// What Zeek knows of one end (src/analyzer/protocol/tcp/TCP_Endpoint.h), in its order.
enum EndpointState: UInt8 {
  /// Nothing seen of this side.
  case inactive
  /// SYN seen, no answer.
  case synSent
  /// SYN-ACK seen, from the side that was taken for the originator.
  case synAckSent
  /// Data or an ACK, but no SYN.
  case partial
  case established
  /// FIN seen.
  case closed
  /// RST seen.
  case reset

  var isHandshake: Bool { rawValue <= EndpointState.synAckSent.rawValue }
}

/// One side of a connection. Sequence numbers are those of what this side *sent*.
struct Side: BitwiseCopyable {
  /// The sequence number of its SYN, or what it would have been.
  var start: UInt32 = 0
  /// One past the last byte seen.
  var last: UInt32 = 0
  /// The highest number that the other side acknowledged.
  var acknowledged: UInt32 = 0
  var state = EndpointState.inactive
  var previous = EndpointState.inactive
  var marks = Marks()
  /// Of this side's SYN or SYN-ACK; 0 when none was seen.
  var timeToLive: UInt8 = 0
  /// How often `last` and `acknowledged` passed 2^32.
  var wraps: UInt16 = 0
  var acknowledgedWraps: UInt16 = 0
  /// IPv4 identification of its last packet.
  var identification: UInt16 = 0
  /// History letters already written (`HistoryBit`).
  var history: UInt8 = 0
  /// Retransmissions since the other side's last packet.
  var unanswered: UInt8 = 0
  var packets: UInt32 = 0
  /// The first of the ranges received out of order (`OutOfOrder`); 0 for none.
  var ranges: UInt32 = 0
  // What is relative to `start` has 64 bits: a number that a broken segment gives may lie anywhere.
  /// In-order data ends here, relative to `start`.
  var delivered: UInt64 = 1
  /// Acknowledged, and no longer looked at, up to here, relative to `start`.
  var trimmed: UInt64 = 1

  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt8 = 0
    static let closed = Self(rawValue: 1)
    static let ended = Self(rawValue: 2)
    /// Reassembly was given up.
    static let skipping = Self(rawValue: 4)
    static let sawFIN = Self(rawValue: 8)
    static let seen = Self(rawValue: 16)
  }

  mutating func enter(_ next: EndpointState) {
    if next != state {
      previous = state
      state = next
    }
  }

  /// The highest acknowledgement, relative to its start.
  @inline(__always)
  var acknowledgedEnd: UInt64 {
    UInt64(acknowledgedWraps) << 32 &+ UInt64(acknowledged) &- UInt64(start)
  }

  /// None of its data was acknowledged (its SYN may have been).
  var isUnacknowledged: Bool {
    let full = UInt64(acknowledgedWraps) << 32 | UInt64(acknowledged)
    return full == UInt64(start) || full == UInt64(start) + 1
  }
}

/// A range of data received beyond a hole, relative to its side's start.
struct OutOfOrder: BitwiseCopyable {
  var lower: UInt64
  var upper: UInt64
  var next: UInt32
}

/// A connection that is being watched: what every packet may touch.
struct Record: BitwiseCopyable {
  // The sides come first: a packet's direction is an index into them.
  var originator = Side()
  var responder = Side()
  var originatorAddress: Segment.Address
  var responderAddress: Segment.Address
  var originatorPort: UInt16
  var responderPort: UInt16
  var marks = Marks()
  var historyLength: UInt8 = 0
  /// The number of its `Ending`; 0 while nothing unusual happened.
  var ending: UInt32 = 0
  /// The number of its `Tallies`; 0 while there is nothing to count.
  var tallies: UInt32 = 0
  /// Its responder's number in the `ReuseTally`; 0 until it was asked for.
  var reuse: UInt16 = 0
  var id: UInt64
  var first: Int64
  /// The last packet that counts for Zeek's duration.
  var last: Int64
  /// The last payload byte of either side; 0 without payload.
  var lastPayload: Int64 = 0
  /// The originator's last packet, and the time between its last two (µs).
  var originatorSent: Int64 = 0
  var originatorGap: UInt32 = .max
  /// SYN to SYN-ACK in µs, at the place of the capture; 0 when not measured.
  var synAckDelay: UInt32 = 0
  /// The SYN's time until the handshake is complete, then SYN to ACK; 0 when not known.
  var handshake: Int64 = 0
  /// When Zeek looks next whether it is over; `.max` for never.
  var expire: Int64
  /// The deadline that stands for it in the heap.
  var scheduled: Int64 = .max
  /// When it is to be reported next, live; `.max` for not.
  var report: Int64 = .max
  var exchange = Exchange()
  var history: (UInt64, UInt64) = (0, 0)

  init(id: UInt64, key: FlowKey, time: Int64, expire: Int64) {
    self.id = id
    originatorAddress = key.originatorAddress
    responderAddress = key.responderAddress
    originatorPort = key.originatorPort
    responderPort = key.responderPort
    first = time
    last = time
    self.expire = expire
  }

  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt16 = 0
    /// Zeek's `is_active`: not yet finished or reset.
    static let active = Self(rawValue: 1)
    /// Zeek's `is_partial`: the start was missed.
    static let partial = Self(rawValue: 2)
    /// A close waits for data to be acknowledged.
    static let closeDeferred = Self(rawValue: 4)
    /// A SYN that may time out.
    static let attempt = Self(rawValue: 8)
    /// Beyond the handshake: the longer inactivity timeout holds.
    static let established = Self(rawValue: 16)
    static let sawSYN = Self(rawValue: 32)
    static let sawSYNACK = Self(rawValue: 64)
    /// `handshake` is a duration.
    static let measured = Self(rawValue: 128)
    static let reported = Self(rawValue: 256)
    static let longHistory = Self(rawValue: 512)
    /// The inactivity timeout of interactive services holds.
    static let interactive = Self(rawValue: 2048)
    /// A FIN or RST was seen.
    static let closing = Self(rawValue: 1024)
    /// Packets of it were not captured on purpose (`Tracker+Light`).
    static let light = Self(rawValue: 0x8000)
  }
}

/// The two ends, once it is settled which is which.
struct FlowKey {
  var originatorAddress: Segment.Address
  var responderAddress: Segment.Address
  var originatorPort: UInt16
  var responderPort: UInt16
}

/// Requests and responses on a connection: what the last one was, by turns of direction.
struct Exchange: BitwiseCopyable {
  /// When the last request's first byte was sent; 0 without one.
  var requestTime: Int64 = 0
  var requestBytes: UInt64 = 0
  var responseBytes: UInt64 = 0
  /// How long the request will be with its header; -1 when not known.
  var requestLength: Int64 = -1
  /// How long the response will be with its header; -1 when not known.
  var responseLength: Int64 = -1
  /// The sequence number of the request's first byte.
  var requestStart: UInt32 = 0
  var count: UInt32 = 0
  /// The number of the kept request line; 0 for none.
  var line: UInt32 = 0
  var marks = Marks()

  /// More of the request is known to come.
  var isRequestCut: Bool { requestLength >= 0 && requestBytes < UInt64(requestLength) }

  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt16 = 0
    /// The originator spoke last.
    static let open = Self(rawValue: 1)
    static let http1 = Self(rawValue: 2)
    static let http2 = Self(rawValue: 4)
    static let tls = Self(rawValue: 8)
    static let tlsEstablished = Self(rawValue: 16)
    /// What the originator speaks was looked at.
    static let classified = Self(rawValue: 32)
    /// Turns of direction are no exchanges here.
    static let uncountable = Self(rawValue: 64)
    /// The request was a HEAD: its response has no body.
    static let head = Self(rawValue: 128)
    static let chunked = Self(rawValue: 256)
    static let lastChunk = Self(rawValue: 512)
    /// The response's header has not ended; `responseLength` holds its body's length until it does.
    static let inHeader = Self(rawValue: 1024)
    /// What was seen of the header ends with a line, or with a line and the CR of an empty one.
    static let atLineStart = Self(rawValue: 2048)
    static let afterReturn = Self(rawValue: 4096)
    /// The response has no length: it ends with the connection (RFC 9112, 6.3).
    static let untilClose = Self(rawValue: 8192)
    /// A segment ended within a field, which was not read, or within the status line.
    static let lostField = Self(rawValue: 16384)
    static let lostStatus = Self(rawValue: 32768)

    /// Of one exchange, not of the connection.
    static let ofExchange: Self = [
      .head, .chunked, .lastChunk, .inHeader, .atLineStart, .afterReturn, .untilClose, .lostField,
      .lostStatus,
    ]
  }
}

/// How a connection ends, and what is rare: kept apart so that an idle connection stays small.
struct Ending: BitwiseCopyable {
  // The sides come first: which one is a matter of arithmetic.
  /// Per side: Zeek's counters and the last control packets' relative numbers.
  var originator = SideEnding()
  var responder = SideEnding()

  static var originatorOffset: Int { 0 }
  static var responderOffset: Int { MemoryLayout<SideEnding>.stride }

  /// Zeek's second look, after the first FIN; and when the state is dropped.
  var expire: Int64 = .max
  var delete: Int64 = .max
  /// The last packet of all, when it came after both sides had closed; 0 otherwise.
  var trailing: Int64 = 0

  /// The first FIN or RST; 0 for none.
  var closedAt: Int64 = 0
  var closedByOriginator = false
  var closedByReset = false
  /// Payload to close in nanoseconds; -1 without payload.
  var idle: Int64 = -1
  var phase: UInt8 = 0
  var forgery = Forgery()
  /// Per side, originator first: the first FIN and the first RST; 0 for none.
  var fin: (Int64, Int64) = (0, 0)
  var reset: (Int64, Int64) = (0, 0)
  var resetKind: (UInt8, UInt8) = (0, 0)
  /// What the responder's FIN acknowledged.
  var finAcknowledged: UInt32 = 0
  /// The responder's RST: its sequence number, and what it acknowledged.
  var resetSequence: UInt32 = 0
  var resetAcknowledged: UInt32 = 0
  var resetHasAcknowledgement = false

  struct Forgery: OptionSet, BitwiseCopyable {
    var rawValue: UInt8 = 0
    static let timeToLive = Self(rawValue: 1)
    static let wentOn = Self(rawValue: 2)
    static let identification = Self(rawValue: 4)
    static let tooSoon = Self(rawValue: 8)
  }
}

/// What Zeek counts on a logarithmic scale, of both sides. A capture cut by its snap length makes gaps
/// on every connection, so that this is apart from the rest.
struct Tallies: BitwiseCopyable {
  // The sides come first: which one is a matter of arithmetic.
  var originator = Side()
  var responder = Side()

  struct Side: BitwiseCopyable {
    var retransmissions: UInt32 = 0
    var zeroWindows: UInt32 = 0
    var gaps: UInt32 = 0
  }
}

struct SideEnding: BitwiseCopyable {
  var lastSYN: UInt64 = 0
  var lastFIN: UInt64 = 0
  var lastRST: UInt64 = 0
  /// One past the FIN, relative to the side's start; far beyond everything for one that lies before
  /// it.
  var finEnd: UInt64 = 0
}
