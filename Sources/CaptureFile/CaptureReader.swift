/// Reads pcap and pcapng, from a file or a pipe, packet by packet.
///
/// The formats: draft-ietf-opsawg-pcap (microseconds or nanoseconds, either byte order) and
/// draft-ietf-opsawg-pcapng (any number of sections and interfaces; blocks that hold no packet are
/// passed over). The file is read through one buffer: memory does not follow its size.
///
///     var reader = try CaptureReader(path: "incident.pcap")
///     try reader.readPackets { packet in … }
public struct CaptureReader: ~Copyable {
  var source: ByteSource
  var packetCount: UInt64 = 0
  /// Of a pcapng.
  var section = Section()
  var hasBegun = false

  /// - Parameters:
  ///   - path: a file, or `-` for standard input.
  ///   - bufferSize: bytes read at a time.
  /// - Throws: `CaptureError` when it cannot be opened.
  public init(path: String, bufferSize: Int = 256 << 10) throws(CaptureError) {
    source = try ByteSource.open(path, capacity: max(bufferSize, 4096))
  }

  /// Packets delivered so far.
  public var packets: UInt64 { packetCount }

  /// Hands every packet to `body`, in the order of the file.
  ///
  /// - Throws: `CaptureError` with the offset of what is damaged or cut short, after everything
  ///   before it was delivered.
  public mutating func readPackets(_ body: (CapturedPacket) -> Void) throws(CaptureError) {
    try readBatches { batch in
      for packet in batch { body(packet) }
    }
  }

  /// Hands the packets to `body` in the order of the file, several at a time where that costs nothing:
  /// who looks packets up in a large table can fetch what the next ones need while it works on one.
  /// The packets' bytes are valid until `body` returns.
  ///
  /// - Throws: as `readPackets`.
  public mutating func readBatches(
    _ body: (UnsafeBufferPointer<CapturedPacket>) -> Void
  ) throws(CaptureError) {
    guard try source.fill(4) else { throw emptyFailure() }
    let magic = source.available.loadUnaligned(fromByteOffset: 0, as: UInt32.self).littleEndian
    switch magic {
    case 0xa1b2_c3d4: try readPcap(swapped: false, nanoseconds: false, body)
    case 0xa1b2_3c4d: try readPcap(swapped: false, nanoseconds: true, body)
    case 0xd4c3_b2a1: try readPcap(swapped: true, nanoseconds: false, body)
    case 0x4d3c_b2a1: try readPcap(swapped: true, nanoseconds: true, body)
    case 0x0a0d_0d0a:
      try readPcapng(wantsJournal: false) { item in
        if case .packet(let packet) = item {
          withUnsafePointer(to: packet) { body(UnsafeBufferPointer(start: $0, count: 1)) }
        }
        return true
      }
    default: throw failure(Self.guess(magic))
    }
  }

  /// What a file that is no capture may be.
  private static func guess(_ magic: UInt32) -> String {
    let what: String? =
      switch magic {
      case _ where magic & 0xffff == 0x8b1f: "compressed with gzip: pipe it through `gzip -dc`"
      case 0xfd2f_b528: "compressed with zstd: pipe it through `zstd -dc`"
      case _ where magic & 0xffff == 0x5a42: "compressed with bzip2: pipe it through `bzip2 -dc`"
      case 0x587a_37fd: "compressed with xz: pipe it through `xz -dc`"
      default: nil
      }
    return what.map { "the file is \($0) and read `-`" } ?? "this is neither pcap nor pcapng"
  }

  func failure(_ reason: String, at offset: UInt64? = nil) -> CaptureError {
    CaptureError(path: source.path, offset: offset ?? source.offset, reason: reason)
  }

  /// The file ends where more must come, as when its writer was killed.
  func cut(within what: String, at offset: UInt64? = nil) -> CaptureError {
    var error = failure("the file ends within \(what)", at: offset)
    error.isCutShort = true
    return error
  }

  func emptyFailure() -> CaptureError {
    let isEmpty = source.available.isEmpty
    var error = failure(isEmpty ? "the file is empty" : "the file is too short for a capture")
    error.isEmptyFile = isEmpty
    return error
  }
}

/// The longest packet that is believed: libpcap's own limit is 256 KiB, but for USB.
let longestPacket = 16 << 20
