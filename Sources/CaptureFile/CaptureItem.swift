/// What a pcapng holds, block by block. Bytes live in the reader's buffer and are valid only until the
/// next.
public enum CaptureItem {
  case interface(CapturedInterface)
  case packet(CapturedPacket)
  /// An entry of a systemd Journal Export Block, with the zeros that pad it.
  case journal(UnsafeRawBufferPointer)
}

/// An interface of a pcapng, as it describes itself.
public struct CapturedInterface: Hashable, Sendable {
  /// Counted over all sections, as in `CapturedPacket.interface`.
  public var index: UInt32
  public var linkType: LinkType
  /// `if_name`; nil when it has none.
  public var name: String?
  /// `if_description`.
  public var description: String?

  public init(
    index: UInt32, linkType: LinkType, name: String? = nil, description: String? = nil
  ) {
    self.index = index
    self.linkType = linkType
    self.name = name
    self.description = description
  }
}

extension CaptureReader {
  /// Whether the file is a pcapng, by its first bytes; nothing is passed over.
  /// - Throws: `CaptureError` when it is empty or cannot be read.
  public mutating func isPcapng() throws(CaptureError) -> Bool {
    guard try source.fill(4) else { throw emptyFailure() }
    return source.available.loadUnaligned(as: UInt32.self) == 0x0a0d_0d0a
  }

  /// Hands everything that is known in the file to `body`, in its order: packets, journal entries,
  /// interfaces. Of a pcap, the packets.
  ///
  /// - Parameter body: returns whether to read on; a pcapng can be read on later, by calling again.
  /// - Throws: as `readPackets`.
  public mutating func readItems(_ body: (CaptureItem) -> Bool) throws(CaptureError) {
    if hasBegun { return try readPcapng(wantsJournal: true, body) }
    guard try source.fill(4) else { throw emptyFailure() }
    let magic = source.available.loadUnaligned(fromByteOffset: 0, as: UInt32.self)
    if magic == 0x0a0d_0d0a {
      hasBegun = true
      try readPcapng(wantsJournal: true, body)
    } else {
      // A pcap is nothing but packets; the rest is read in vain when nobody wants it.
      var wantsMore = true
      try readBatches { batch in
        for packet in batch where wantsMore { wantsMore = body(.packet(packet)) }
      }
    }
  }
}
