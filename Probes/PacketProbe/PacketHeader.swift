public import CaptureFile
public import Evidence

/// A TCP segment's ends and numbers, read from a captured packet.
public struct PacketHeader: Hashable, Sendable {
  public var source: Endpoint
  public var destination: Endpoint
  public var flags: PacketFlags
  public var sequence: UInt32
  public var acknowledgement: UInt32
  /// Payload bytes on the wire.
  public var length: UInt32
  public var window: UInt16
  /// Bytes of the packet from its first to the end of the TCP header, as far as they were captured.
  public var headerLength: Int

  /// Nil when the packet is no TCP, or too short to tell.
  public init?(_ packet: CapturedPacket) {
    var segment = Segment()
    guard case .segment = withUnsafePointer(to: packet, { Decoder.decode($0, into: &segment) }) else {
      return nil
    }
    source = Endpoint(
      address: IPAddress(high: segment.source.high, low: segment.source.low),
      port: segment.sourcePort)
    destination = Endpoint(
      address: IPAddress(high: segment.destination.high, low: segment.destination.low),
      port: segment.destinationPort)
    flags = PacketFlags(rawValue: segment.flags.rawValue)
    sequence = segment.sequence
    acknowledgement = segment.acknowledgement
    length = segment.payloadLength
    window = segment.window
    guard let start = packet.bytes.baseAddress, let payload = segment.payload.baseAddress else {
      return nil
    }
    headerLength = payload - start
  }

  /// Nil when the headers are no TCP.
  public init?(_ header: CapturedHeader) {
    let packet = header.bytes.withUnsafeBytes { bytes in
      Self(
        CapturedPacket(
          time: header.time, interface: 0, linkType: header.linkType,
          originalLength: header.originalLength, bytes: bytes))
    }
    guard let packet else { return nil }
    self = packet
  }
}
