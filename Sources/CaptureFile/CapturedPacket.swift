/// What a packet begins with (the registry of link-layer header types, tcpdump.org/linktypes.html).
public struct LinkType: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt32

  @inlinable
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// BSD loopback: the address family in the byte order of the host.
  public static let null = Self(rawValue: 0)
  public static let ethernet = Self(rawValue: 1)
  /// IPv4 or IPv6 without a header before it.
  public static let raw = Self(rawValue: 101)
  /// OpenBSD loopback: the address family in network byte order.
  public static let loop = Self(rawValue: 108)
  /// Linux "cooked" capture, 16 bytes: without the interface.
  public static let linuxSLL = Self(rawValue: 113)
  public static let ipv4 = Self(rawValue: 228)
  public static let ipv6 = Self(rawValue: 229)
  /// Linux "cooked" capture v2, 20 bytes: with the interface's index.
  public static let linuxSLL2 = Self(rawValue: 276)
}

/// One packet of a capture. Its bytes live in the reader's buffer and are valid only until the next.
public struct CapturedPacket {
  /// Nanoseconds since the Unix epoch.
  public var time: Int64
  /// Which interface of the file, from 0, counted over all sections.
  public var interface: UInt32
  public var linkType: LinkType
  /// The packet's length on the wire; at least `bytes.count`, unless the file lies.
  public var originalLength: UInt32
  /// What was captured of it.
  public var bytes: UnsafeRawBufferPointer

  @inlinable
  public init(
    time: Int64, interface: UInt32, linkType: LinkType, originalLength: UInt32,
    bytes: UnsafeRawBufferPointer
  ) {
    self.time = time
    self.interface = interface
    self.linkType = linkType
    self.originalLength = originalLength
    self.bytes = bytes
  }
}
