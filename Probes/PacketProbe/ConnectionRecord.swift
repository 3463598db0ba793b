/// A connection that is being watched, in four cache lines: an ordinary packet touches the first two.
struct Record: BitwiseCopyable {
  // First line. The sides come first: a packet's direction is an index into them.
  var originator = Side()
  var responder = Side()

  // Second line.
  /// As `Segment.pair` of what the originator sends.
  var pair: UInt64 = 0
  /// The originator's in the upper half.
  var ports: UInt32 = 0
  /// What lets a packet take the short way (`Tracker+Ordinary`).
  var plain = Plain()
  /// Its responder's number in the `ReuseTally`; 0 until it was asked for.
  var reuse: UInt8 = 0
  var marks = Marks()
  /// The last packet that counts for Zeek's duration.
  var last: Int64
  /// The last payload byte of either side; 0 without payload.
  var lastPayload: Int64 = 0
  var responseBytes: UInt64 = 0
  /// How long the response will be with its header; -1 when not known.
  var responseLength: Int64 = -1
  /// The number of the kept request line; 0 for none.
  var requestLine: UInt32 = 0
  var exchangeMarks = Exchange.Marks()
  /// How often the originator's data, and the responder's, was acknowledged but not seen.
  var gaps: (UInt32, UInt32) = (0, 0)

  // Third line.
  var originatorRest = SideRest()
  var id: UInt64
  var first: Int64
  var responderRest = SideRest()
  /// When Zeek looks next whether it is over; `.max` for never.
  var expire: Int64
  /// When it is to be reported next, live; `.max` for not.
  var report: Int64 = .max

  // Fourth line.
  /// When the last request's first byte was sent; 0 without one.
  var requestTime: Int64 = 0
  var requestBytes: UInt64 = 0
  /// How long the request will be with its header; -1 when not known.
  var requestLength: Int64 = -1
  /// The sequence number of the request's first byte.
  var requestStart: UInt32 = 0
  var exchangeCount: UInt32 = 0
  /// The SYN's time until the handshake is complete, then SYN to ACK; 0 when not known.
  var handshake: Int64 = 0
  /// SYN to SYN-ACK in µs, at the place of the capture; 0 when not measured.
  var synAckDelay: UInt32 = 0
  /// The deadline that stands for it among the timers (`Timers.tick`), while `Marks.scheduled` is set.
  var scheduled: UInt32 = 0
  /// The number of its `Ending`; 0 while nothing unusual happened.
  var ending: UInt32 = 0
  /// The number of its `Extras`; 0 while it needs none.
  var extras: UInt32 = 0
  var history = PackedHistory()

  /// From a side to its rest.
  static var restOffset: Int { 128 }
  static var gapsOffset: Int { 120 }

  init(id: UInt64, time: Int64, expire: Int64) {
    self.id = id
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
    /// A FIN or RST was seen.
    static let closing = Self(rawValue: 1024)
    /// The inactivity timeout of interactive services holds.
    static let interactive = Self(rawValue: 2048)
    /// A timer stands for it.
    static let scheduled = Self(rawValue: 4096)
    /// IPv6.
    static let six = Self(rawValue: 8192)
    /// Packets of it were not captured on purpose (`Tracker+Light`).
    static let light = Self(rawValue: 0x8000)
  }

  /// Both sides are established, nothing is out of order and nothing waits: set by `update`, which
  /// sees every packet that could change it. The letters tell what a side has already written.
  struct Plain: OptionSet, BitwiseCopyable {
    var rawValue: UInt8 = 0
    static let both = Self(rawValue: 1)
    static let originatorData = Self(rawValue: 2)
    static let originatorACK = Self(rawValue: 4)
    static let responderData = Self(rawValue: 8)
    static let responderACK = Self(rawValue: 16)
    /// The other end is so far away that the time between packets may tell something.
    static let far = Self(rawValue: 32)
  }

  var originatorPort: UInt16 { UInt16(truncatingIfNeeded: ports >> 16) }
  var responderPort: UInt16 { UInt16(truncatingIfNeeded: ports) }

  /// Requests and responses as one value.
  var exchange: Exchange {
    get {
      Exchange(
        requestTime: requestTime, requestBytes: requestBytes, responseBytes: responseBytes,
        requestLength: requestLength, responseLength: responseLength, requestStart: requestStart,
        count: exchangeCount, line: requestLine, marks: exchangeMarks)
    }
    set {
      requestTime = newValue.requestTime
      requestBytes = newValue.requestBytes
      responseBytes = newValue.responseBytes
      requestLength = newValue.requestLength
      responseLength = newValue.responseLength
      requestStart = newValue.requestStart
      exchangeCount = newValue.count
      requestLine = newValue.line
      exchangeMarks = newValue.marks
    }
  }
}

/// Up to twelve history letters in five bits each, and how many they are.
struct PackedHistory: BitwiseCopyable {
  private var bits: UInt64 = 0

  static var capacity: Int { 12 }
  var count: Int { Int(bits >> 60) }

  mutating func append(_ letter: UInt8) {
    let upper = letter & 0x5f
    var code: UInt64 = 0
    while code < 15, Self.letter(Int(code)) != upper { code += 1 }
    bits |= (code << 1 | UInt64(letter >> 5 & 1)) << UInt64(count * 5)
    bits &+= 1 << 60
  }

  /// The letter at a place below `count`.
  subscript(_ place: Int) -> UInt8 {
    let code = Int(bits >> UInt64(place * 5) & 31)
    return Self.letter(code >> 1) | UInt8(code & 1) << 5
  }

  /// The letters that are written, most frequent first; `^` has no case.
  private static func letter(_ code: Int) -> UInt8 {
    let letters: StaticString = "ADSHFGRTWIQ^CX??"
    return letters.utf8Start[code]
  }
}

/// The two ends of a connection over IPv6.
struct AddressPair: BitwiseCopyable {
  var originator = Segment.Address()
  var responder = Segment.Address()
}
