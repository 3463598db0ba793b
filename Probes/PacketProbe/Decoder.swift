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
  /// What `packet` is.
  static func decode(
    _ packet: UnsafePointer<CapturedPacket>, into segment: UnsafeMutablePointer<Segment>
  ) -> Decoded {
    if !decodeOrdinary(packet, segment) { _ = decodeOther(packet, segment) }
    return segment.pointee.kind
  }

  /// Decodes what `decodeOrdinary` refused.
  /// - Returns: whether addresses and ports were read.
  @inline(never)
  static func decodeOther(
    _ packet: UnsafePointer<CapturedPacket>, _ segment: UnsafeMutablePointer<Segment>
  ) -> Bool {
    let result = decodeAny(packet.pointee, &segment.pointee)
    segment.pointee.kind = result
    segment.pointee.isPlain = false
    switch result {
    case .segment, .badHeader: return true
    default: return false
    }
  }

  /// The frames that nearly all frames are: Ethernet, IPv4 without options and fragments or IPv6
  /// without extension headers, TCP. All bytes of their headers are known to be there after one
  /// comparison.
  /// - Returns: false when it is another, and `segment` is then unfinished.
  @inline(__always)
  static func decodeOrdinary(
    _ packet: UnsafePointer<CapturedPacket>, _ segment: UnsafeMutablePointer<Segment>
  ) -> Bool {
    let captured = packet.pointee.bytes.count
    guard packet.pointee.linkType == .ethernet, captured >= 54,
      let frame = packet.pointee.bytes.baseAddress
    else { return false }
    let wire = max(Int(packet.pointee.originalLength), captured) &- 14
    // Ethertype, version and header length, or traffic class.
    let start = frame.big32(12)
    if start & 0xffff_ff00 == 0x0800_4500 {
      // Total length, identification, fragment, time to live, protocol.
      let fields = frame.big64(16)
      let length = Int(fields >> 48) &- 20
      let headerLength = Int(frame.byte(46) >> 4) &* 4
      guard fields & 0x3fff_00ff == 6, headerLength >= 20, length >= headerLength,
        length &+ 20 <= wire
      else { return false }
      segment.pointee.identification = UInt16(truncatingIfNeeded: fields >> 32)
      segment.pointee.timeToLive = UInt8(truncatingIfNeeded: fields >> 8)
      segment.pointee.setAddresses(v4: frame.big64(26))
      segment.pointee.setTCP(
        frame + 34, headerLength: headerLength, length: length, captured: captured &- 34)
    } else if start & 0xffff_f000 == 0x86dd_6000 {
      guard captured >= 74, frame.byte(20) == 6 else { return false }
      let length = Int(frame.big16(18))
      let headerLength = Int(frame.byte(66) >> 4) &* 4
      guard headerLength >= 20, length >= headerLength, length &+ 40 <= wire else { return false }
      segment.pointee.identification = 0
      segment.pointee.timeToLive = frame.byte(21)
      segment.pointee.setAddresses(
        source: .init(high: frame.big64(22), low: frame.big64(30)),
        destination: .init(high: frame.big64(38), low: frame.big64(46)))
      segment.pointee.setTCP(
        frame + 54, headerLength: headerLength, length: length, captured: captured &- 54)
    } else {
      return false
    }
    segment.pointee.time = packet.pointee.time
    segment.pointee.interface = packet.pointee.interface
    segment.pointee.isPlain = packet.pointee.interface == 0
    segment.pointee.kind = .segment
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
    segment.setAddresses(v4: bytes.big64(start + 12))
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
    segment.setAddresses(
      source: .init(high: bytes.big64(start + 8), low: bytes.big64(start + 16)),
      destination: .init(high: bytes.big64(start + 24), low: bytes.big64(start + 32)))
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
    guard bytes.count >= offset + 20, let base = bytes.baseAddress else {
      return length < 20 ? .malformed : .truncated
    }
    guard length >= 20 else { return .malformed }
    let headerLength = Int(bytes[offset + 12] >> 4) * 4
    guard headerLength >= 20, headerLength <= length else {
      segment.setBadTCP(base + offset)
      return .badHeader
    }
    segment.setTCP(
      base + offset, headerLength: headerLength, length: length, captured: bytes.count - offset)
    return .segment
  }
}
