/// A range of data received beyond a hole, relative to its side's start.
struct OutOfOrder: BitwiseCopyable {
  var lower: UInt64
  var upper: UInt64
  var next: UInt32
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

/// What few connections have: what Zeek counts on a logarithmic scale but gaps (a capture cut by its snap
/// length makes those on every connection), when the originator of a far responder sent, and the
/// addresses of IPv6.
struct Extras: BitwiseCopyable {
  // The sides come first: which one is a matter of arithmetic.
  var originator = Side()
  var responder = Side()
  /// The originator's last packet; 0 for none.
  var sent: Int64 = 0
  /// The time between its last two, in microseconds.
  var sentGap: UInt32 = .max
  var addresses = AddressPair()

  static var addressesOffset: Int { 32 }

  struct Side: BitwiseCopyable {
    var retransmissions: UInt32 = 0
    var zeroWindows: UInt32 = 0
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
