/// What a packet begins with (the registry of link-layer header types, tcpdump.org/linktypes.html).
public struct LinkType: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt32

  @inlinable
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// BSD loopback: the address family in the byte order of the host.
  @inlinable public static var null: Self { Self(rawValue: 0) }
  @inlinable public static var ethernet: Self { Self(rawValue: 1) }
  /// IPv4 or IPv6 without a header before it.
  @inlinable public static var raw: Self { Self(rawValue: 101) }
  /// OpenBSD loopback: the address family in network byte order.
  @inlinable public static var loop: Self { Self(rawValue: 108) }
  /// Linux "cooked" capture, 16 bytes: without the interface.
  @inlinable public static var linuxSLL: Self { Self(rawValue: 113) }
  @inlinable public static var ipv4: Self { Self(rawValue: 228) }
  @inlinable public static var ipv6: Self { Self(rawValue: 229) }
  /// Linux "cooked" capture v2, 20 bytes: with the interface's index.
  @inlinable public static var linuxSLL2: Self { Self(rawValue: 276) }
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
