/// The TCP flags of RFC 9293, 3.1.
struct TCPFlags: OptionSet {
  var rawValue: UInt8
  @inline(__always) init(rawValue: UInt8) { self.rawValue = rawValue }

  static let fin = Self(rawValue: 0x01)
  static let syn = Self(rawValue: 0x02)
  static let rst = Self(rawValue: 0x04)
  static let psh = Self(rawValue: 0x08)
  static let ack = Self(rawValue: 0x10)
}

/// One TCP segment, decoded in place: its payload stays in the packet.
struct Segment: ~Copyable {
  /// Nanoseconds since the epoch.
  var time: Int64 = 0
  /// Of the two ends, for the connection table.
  var hash: UInt64 = 0
  /// The addresses, the source's in the upper half: IPv4's themselves, of IPv6's (`six`) a digest each.
  private(set) var pair: UInt64 = 0
  /// The source's in the upper half.
  var ports: UInt32 = 0
  var sequence: UInt32 = 0
  var acknowledgement: UInt32 = 0
  /// Payload bytes on the wire.
  var payloadLength: UInt32 = 0
  /// Those of them that were captured, and where they are.
  var capturedLength: UInt32 = 0
  var window: UInt16 = 0
  /// IPv4 identification; 0 for IPv6.
  var identification: UInt16 = 0
  fileprivate(set) var payloadStart: UnsafeRawPointer?
  var flags: TCPFlags = []
  var timeToLive: UInt8 = 0
  /// IPv6: the addresses are not mapped ones.
  private(set) var isSix = false
  /// Bytes of options that were captured; they stand before the payload.
  private(set) var optionsLength: UInt8 = 0
  /// The interface it was captured on: the file's, or the kernel's on a "cooked" capture.
  var interface: UInt32 = 0
  /// Of a TCP header, or what the packet turned out to be instead.
  var kind = Decoded.notIP
  /// An Ethernet frame of the first interface, decoded the short way: no other interface can have seen
  /// it, unless the file has several.
  var isPlain = false
  private var six = (Address(), Address())

  var payload: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: payloadStart, count: Int(capturedLength))
  }

  /// The options that were captured.
  var options: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: payloadStart.map { $0 - Int(optionsLength) }, count: Int(optionsLength))
  }

  var sourcePort: UInt16 { UInt16(truncatingIfNeeded: ports >> 16) }
  var destinationPort: UInt16 { UInt16(truncatingIfNeeded: ports) }

  var source: Address {
    isSix ? six.0 : Address(v4: UInt32(truncatingIfNeeded: pair >> 32))
  }

  var destination: Address {
    isSix ? six.1 : Address(v4: UInt32(truncatingIfNeeded: pair))
  }

  /// - Parameter addresses: the source's in the upper half.
  @inline(__always)
  mutating func setAddresses(v4 addresses: UInt64) {
    pair = addresses
    isSix = false
  }

  /// An IPv4 address mapped into IPv6 is one and the same to all that follows.
  @inline(__always)
  mutating func setAddresses(source: Address, destination: Address) {
    isSix = !(source.isV4 && destination.isV4)
    six = (source, destination)
    pair =
      isSix
      ? source.digest << 32 | destination.digest
      : source.low << 32 | destination.low & 0xffff_ffff
  }

  /// The TCP header at `header`, of which 20 bytes were captured.
  /// - Parameters:
  ///   - length: of header and payload on the wire, at least `headerLength`.
  ///   - captured: what there is of these.
  @inline(__always)
  mutating func setTCP(
    _ header: UnsafeRawPointer, headerLength: Int, length: Int, captured: Int
  ) {
    ports = header.big32(0)
    let numbers = header.big64(4)
    sequence = UInt32(truncatingIfNeeded: numbers >> 32)
    acknowledgement = UInt32(truncatingIfNeeded: numbers)
    let rest = header.big32(12)
    flags = TCPFlags(rawValue: UInt8(truncatingIfNeeded: rest >> 16))
    window = UInt16(truncatingIfNeeded: rest)
    payloadLength = UInt32(truncatingIfNeeded: length &- headerLength)
    // What was captured ends with the datagram (Ethernet pads short frames) or the snap length.
    let end = min(captured, length)
    let start = min(headerLength, end)
    capturedLength = UInt32(truncatingIfNeeded: end &- start)
    payloadStart = header + start
    optionsLength = UInt8(truncatingIfNeeded: start &- 20)
  }

  /// A TCP header whose own length is wrong: no options, no payload.
  mutating func setBadTCP(_ header: UnsafeRawPointer) {
    setTCP(header, headerLength: 20, length: 20, captured: 20)
  }

  /// An address as two numbers, IPv4 mapped into IPv6: what `Evidence.IPAddress` holds, in a form
  /// that the inner loop may compare without a call.
  struct Address {
    var high: UInt64 = 0
    var low: UInt64 = 0

    @inline(__always)
    init(high: UInt64 = 0, low: UInt64 = 0) {
      self.high = high
      self.low = low
    }

    @inline(__always)
    init(v4: UInt32) { low = 0xffff_0000_0000 | UInt64(v4) }

    /// In 32 bits.
    @inline(__always)
    var digest: UInt64 {
      let value = low ^ high &* 0xa076_1d64_78bd_642f
      let mixed = value.multipliedFullWidth(by: 0xe703_7ed1_a0b4_28db)
      return (mixed.high ^ mixed.low) >> 32
    }

    @inline(__always)
    var isV4: Bool { high == 0 && low >> 32 == 0xffff }

    @inline(__always)
    static func == (a: Self, b: Self) -> Bool { a.low == b.low && a.high == b.high }
  }
}

/// The TCP options that upclose knows, from as much of them as was captured.
struct TCPOptions: Equatable {
  var maximumSegmentSize: UInt16?
  var windowScale: UInt8?
  var selectiveAcknowledgement = false
  /// TSval and TSecr of RFC 7323.
  var timestamps: Timestamps?

  struct Timestamps: Equatable {
    var value: UInt32
    var echo: UInt32
  }

  init() {}

  init(_ bytes: UnsafeRawBufferPointer) {
    var position = 0
    while position < bytes.count {
      let kind = bytes[position]
      if kind == 0 { return }
      if kind == 1 {
        position += 1
        continue
      }
      guard position + 1 < bytes.count else { return }
      let length = Int(bytes[position + 1])
      guard length >= 2, position + length <= bytes.count else { return }
      switch (kind, length) {
      case (2, 4): maximumSegmentSize = bytes.big16(position + 2)
      case (3, 3): windowScale = bytes[position + 2]
      case (4, 2): selectiveAcknowledgement = true
      case (8, 10):
        timestamps = Timestamps(value: bytes.big32(position + 2), echo: bytes.big32(position + 6))
      default: break
      }
      position += length
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Numbers in network byte order. The caller has checked that the bytes are there.
  @inline(__always)
  func big16(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  func big32(_ offset: Int) -> UInt32 {
    UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func big64(_ offset: Int) -> UInt64 {
    UInt64(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}

/// The same where one comparison has shown that a whole header is there.
extension UnsafeRawPointer {
  @inline(__always)
  func byte(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }

  @inline(__always)
  func big16(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  func big32(_ offset: Int) -> UInt32 {
    UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func big64(_ offset: Int) -> UInt64 {
    UInt64(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
