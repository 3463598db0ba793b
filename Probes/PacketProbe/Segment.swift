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

/// One TCP segment, decoded in place: `payload` points into the packet.
struct Segment: ~Copyable {
  /// Nanoseconds since the epoch.
  var time: Int64 = 0
  /// The interface it was captured on: the file's, or the kernel's on a "cooked" capture.
  var interface: UInt32 = 0
  var source = Address()
  var destination = Address()
  var sourcePort: UInt16 = 0
  var destinationPort: UInt16 = 0
  var sequence: UInt32 = 0
  var acknowledgement: UInt32 = 0
  var flags: TCPFlags = []
  var window: UInt16 = 0
  var timeToLive: UInt8 = 0
  /// IPv4 identification; 0 for IPv6.
  var identification: UInt16 = 0
  /// Payload bytes on the wire.
  var payloadLength: UInt32 = 0
  /// Of the two ends, for the connection table.
  var hash: UInt64 = 0
  /// Those of them that were captured.
  var payload = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The options that were captured.
  var options = UnsafeRawBufferPointer(start: nil, count: 0)

  /// An address as two numbers, IPv4 mapped into IPv6: what `Evidence.IPAddress` holds, in a form
  /// that the inner loop may compare without a call.
  struct Address {
    var high: UInt64 = 0
    var low: UInt64 = 0
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
