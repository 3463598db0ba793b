import CaptureFile

/// What a packet turned out to be.
enum Decoded {
  /// A TCP segment: the one case in which `Segment` was filled.
  case segment
  /// ARP, spanning tree, an unknown ethertype.
  case notIP
  /// UDP, ICMP and the like.
  case notTCP
  /// A fragment other than the first: it holds no TCP header.
  case fragment
  /// TCP may be inside, but it is another network's.
  case tunnel(Tunnel)
  /// TCP's own header length is wrong: the ends, the flags and the numbers were read, no more.
  case badHeader
  /// Cut before the end of the TCP header's first 20 bytes.
  case truncated
  /// Lengths that contradict each other.
  case malformed
  /// A link type that is not known.
  case unknownLink

  enum Tunnel { case vxlan, gre, ipInIP }
}

/// Finds the TCP segment in a packet. Nothing is allocated and no checksum is verified, for offload
/// makes outgoing ones wrong.
enum Decoder {
  @inline(__always)
  static func decode(_ packet: CapturedPacket, into segment: inout Segment) -> Decoded {
    if decodeOrdinary(packet, &segment) { return .segment }
    return decodeAny(packet, &segment)
  }

  /// The frame that nearly all frames are: Ethernet, IPv4 without options and fragments, TCP. All its
  /// bytes are known to be there after one comparison.
  /// - Returns: false when it is another, and `segment` is then unfinished.
  @inline(__always)
  private static func decodeOrdinary(
    _ packet: CapturedPacket, _ segment: inout Segment
  ) -> Bool {
    let captured = packet.bytes.count
    guard packet.linkType == .ethernet, captured >= 54, let frame = packet.bytes.baseAddress
    else { return false }
    func byte(_ offset: Int) -> UInt8 { frame.load(fromByteOffset: offset, as: UInt8.self) }
    func big16(_ offset: Int) -> UInt16 {
      UInt16(bigEndian: frame.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
    func big32(_ offset: Int) -> UInt32 {
      UInt32(bigEndian: frame.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    // Ethertype, version and header length; fragments; protocol.
    guard big32(12) & 0xffff_ff00 == 0x0800_4500, big16(20) & 0x3fff == 0, byte(23) == 6
    else { return false }
    let total = Int(big16(16))
    let headerLength = Int(byte(46) >> 4) &* 4
    let transport = 20 &+ headerLength
    guard headerLength >= 20, total >= transport,
      total &+ 14 <= max(Int(packet.originalLength), captured)
    else { return false }
    segment.time = packet.time
    segment.interface = packet.interface
    segment.identification = big16(18)
    segment.timeToLive = byte(22)
    segment.source = .init(high: 0, low: 0xffff_0000_0000 | UInt64(big32(26)))
    segment.destination = .init(high: 0, low: 0xffff_0000_0000 | UInt64(big32(30)))
    segment.sourcePort = big16(34)
    segment.destinationPort = big16(36)
    segment.sequence = big32(38)
    segment.acknowledgement = big32(42)
    segment.flags = TCPFlags(rawValue: byte(47))
    segment.window = big16(48)
    segment.payloadLength = UInt32(truncatingIfNeeded: total &- transport)
    let end = min(captured, total &+ 14)
    let payload = min(transport &+ 14, end)
    segment.options = UnsafeRawBufferPointer(start: frame + 54, count: payload &- 54)
    segment.payload = UnsafeRawBufferPointer(start: frame + payload, count: end &- payload)
    return true
  }

  private static func decodeAny(_ packet: CapturedPacket, _ segment: inout Segment) -> Decoded {
    segment.time = packet.time
    segment.interface = packet.interface
    let bytes = packet.bytes
    var offset = 0
    var etherType: UInt16
    switch packet.linkType {
    case .ethernet:
      guard bytes.count >= 14 else { return .truncated }
      etherType = bytes.big16(12)
      offset = 14
    case .linuxSLL2:
      guard bytes.count >= 20 else { return .truncated }
      etherType = bytes.big16(0)
      segment.interface = bytes.big32(4)
      offset = 20
    case .linuxSLL:
      guard bytes.count >= 16 else { return .truncated }
      etherType = bytes.big16(14)
      // Without the interface, the direction tells two of them apart (bridge and veth).
      segment.interface = UInt32(bytes.big16(0))
      offset = 16
    default:
      guard let start = startOfIP(packet) else {
        return isKnown(packet.linkType) ? .truncated : .unknownLink
      }
      offset = start
      guard offset < bytes.count else { return .truncated }
      etherType = bytes[offset] >> 4 == 6 ? 0x86dd : 0x0800
      if bytes[offset] >> 4 != 4, bytes[offset] >> 4 != 6 { return .notIP }
    }
    // 802.1Q, 802.1ad and the old QinQ, in any depth.
    while etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100 {
      guard bytes.count >= offset + 4 else { return .truncated }
      etherType = bytes.big16(offset + 2)
      offset += 4
    }
    if etherType == 0x0800 { return ipv4(packet, offset, &segment) }
    if etherType == 0x86dd { return ipv6(packet, offset, &segment) }
    return .notIP
  }

  private static func isKnown(_ type: LinkType) -> Bool {
    switch type {
    case .null, .loop, .raw, .ipv4, .ipv6: true
    default: type.rawValue == 12 || type.rawValue == 14
    }
  }

  /// Where IP begins behind the simple link types; nil when there is not enough of it.
  private static func startOfIP(_ packet: CapturedPacket) -> Int? {
    switch packet.linkType {
    case .null, .loop:
      // The family's number differs between systems; IP's own version says as much.
      packet.bytes.count > 4 ? 4 : nil
    case .raw, .ipv4, .ipv6: 0
    default: isKnown(packet.linkType) ? 0 : nil
    }
  }

  @inline(__always)
  private static func ipv4(
    _ packet: CapturedPacket, _ start: Int, _ segment: inout Segment
  ) -> Decoded {
    let bytes = packet.bytes
    guard bytes.count >= start + 20 else { return .truncated }
    let first = bytes[start]
    let headerLength = Int(first & 15) * 4
    guard first >> 4 == 4, headerLength >= 20 else { return .malformed }
    let wire = max(Int(packet.originalLength), bytes.count) - start
    // Segmentation offload leaves 0: then the packet is as long as it was on the "wire".
    var total = Int(bytes.big16(start + 2))
    if total == 0 { total = wire }
    guard total >= headerLength, total <= wire else { return .malformed }
    if bytes.big16(start + 6) & 0x1fff != 0 { return .fragment }
    segment.identification = bytes.big16(start + 4)
    segment.timeToLive = bytes[start + 8]
    segment.source = .init(high: 0, low: 0xffff_0000_0000 | UInt64(bytes.big32(start + 12)))
    segment.destination = .init(high: 0, low: 0xffff_0000_0000 | UInt64(bytes.big32(start + 16)))
    let transport = start + headerLength
    if bytes[start + 9] == 6 {
      return tcp(bytes, transport, length: total - headerLength, &segment)
    }
    return other(bytes[start + 9], bytes, transport)
  }

  private static func ipv6(
    _ packet: CapturedPacket, _ start: Int, _ segment: inout Segment
  ) -> Decoded {
    let bytes = packet.bytes
    guard bytes.count >= start + 40 else { return .truncated }
    guard bytes[start] >> 4 == 6 else { return .malformed }
    let wire = max(Int(packet.originalLength), bytes.count) - start - 40
    // 0 for a jumbogram (big TCP), or by segmentation offload.
    var length = Int(bytes.big16(start + 4))
    if length == 0 { length = wire }
    guard length <= wire else { return .malformed }
    segment.identification = 0
    segment.timeToLive = bytes[start + 7]
    segment.source = .init(high: bytes.big64(start + 8), low: bytes.big64(start + 16))
    segment.destination = .init(high: bytes.big64(start + 24), low: bytes.big64(start + 32))
    var next = bytes[start + 6]
    var offset = start + 40
    let end = offset + length
    while true {
      switch next {
      case 6: return tcp(bytes, offset, length: end - offset, &segment)
      case 0, 43, 60, 135, 139, 140:
        guard bytes.count >= offset + 2 else { return .truncated }
        next = bytes[offset]
        offset += (Int(bytes[offset + 1]) + 1) * 8
      case 51:
        guard bytes.count >= offset + 2 else { return .truncated }
        next = bytes[offset]
        offset += (Int(bytes[offset + 1]) + 2) * 4
      case 44:
        guard bytes.count >= offset + 8 else { return .truncated }
        if bytes.big16(offset + 2) & 0xfff8 != 0 { return .fragment }
        next = bytes[offset]
        offset += 8
      default: return other(next, bytes, offset)
      }
      if offset > end { return .malformed }
    }
  }

  private static func other(
    _ transport: UInt8, _ bytes: UnsafeRawBufferPointer, _ offset: Int
  ) -> Decoded {
    switch transport {
    case 4, 41: return .tunnel(.ipInIP)
    case 47: return .tunnel(.gre)
    case 17:
      guard bytes.count >= offset + 4 else { return .notTCP }
      let port = bytes.big16(offset + 2)
      // IANA's VXLAN port, and Linux's from before there was one.
      return port == 4789 || port == 8472 ? .tunnel(.vxlan) : .notTCP
    default: return .notTCP
    }
  }

  @inline(__always)
  private static func tcp(
    _ bytes: UnsafeRawBufferPointer, _ offset: Int, length: Int, _ segment: inout Segment
  ) -> Decoded {
    guard bytes.count >= offset + 20 else { return length < 20 ? .malformed : .truncated }
    guard length >= 20 else { return .malformed }
    let headerLength = Int(bytes[offset + 12] >> 4) * 4
    segment.sourcePort = bytes.big16(offset)
    segment.destinationPort = bytes.big16(offset + 2)
    segment.sequence = bytes.big32(offset + 4)
    segment.acknowledgement = bytes.big32(offset + 8)
    segment.flags = TCPFlags(rawValue: bytes[offset + 13])
    segment.window = bytes.big16(offset + 14)
    guard headerLength >= 20, headerLength <= length else {
      segment.payloadLength = 0
      segment.options = UnsafeRawBufferPointer(start: nil, count: 0)
      segment.payload = UnsafeRawBufferPointer(start: nil, count: 0)
      return .badHeader
    }
    segment.payloadLength = UInt32(truncatingIfNeeded: length - headerLength)
    // What was captured ends with the datagram (Ethernet pads short frames) or the snap length.
    let end = min(bytes.count, offset + length)
    let payload = min(offset + headerLength, end)
    segment.options = UnsafeRawBufferPointer(rebasing: bytes[(offset + 20)..<payload])
    segment.payload = UnsafeRawBufferPointer(rebasing: bytes[payload..<end])
    return .segment
  }
}
