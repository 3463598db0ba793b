extension CaptureReader {
  /// Enough to hide a table's cache misses, few enough to stay in the first cache themselves.
  private static var batchSize: Int { 32 }

  mutating func readPcap(
    swapped: Bool, nanoseconds: Bool, _ body: (UnsafeBufferPointer<CapturedPacket>) -> Void
  ) throws(CaptureError) {
    // The file's magic number was compared as little-endian; numbers are read as the host reads.
    let order = ByteOrder(swapped: swapped != (1.bigEndian == 1))
    guard try source.fill(24) else { throw failure("the file ends within its header") }
    let snapLength = order.u32(source.available, 16)
    // The upper bits say whether a checksum of the frame follows it.
    let linkType = LinkType(rawValue: order.u32(source.available, 20) & 0x03ff_ffff)
    let longest = max(262_144, min(Int(snapLength), longestPacket))
    source.consume(24)
    let kind = Kind(linkType: linkType, longest: longest, unit: nanoseconds ? 1 : 1000)
    let batch = UnsafeMutablePointer<CapturedPacket>.allocate(capacity: Self.batchSize)
    defer { batch.deallocate() }
    while true {
      // All whole records in the buffer, then read on.
      let (position, end) =
        order.swapped
        ? takeRecords(kind, swapped: true, batch, body)
        : takeRecords(kind, swapped: false, batch, body)
      source.consume(position)
      let needed: Int
      switch end {
      case .more(let count): needed = count
      case .tooLong(let length): throw failure("a packet of \(length) bytes: the file is damaged")
      }
      if try !source.fill(needed) {
        if source.available.isEmpty { return }
        throw cut(within: "a packet")
      }
    }
  }

  private struct Kind {
    var linkType: LinkType
    var longest: Int
    var unit: Int64
  }

  private enum End {
    /// So many bytes are needed to go on.
    case more(Int)
    case tooLong(Int)
  }

  /// Hands over the whole records that are at hand.
  /// - Returns: their bytes, and why it did not go on.
  @inline(__always)
  private mutating func takeRecords(
    _ kind: Kind, swapped: Bool, _ batch: UnsafeMutablePointer<CapturedPacket>,
    _ body: (UnsafeBufferPointer<CapturedPacket>) -> Void
  ) -> (Int, End) {
    let available = source.available
    guard let base = available.baseAddress else { return (0, .more(16)) }
    let size = available.count
    var end = End.more(16)
    var position = 0
    var count = 0
    while position &+ 16 <= size {
      let record = base + position
      func field(_ offset: Int) -> UInt32 {
        let value = record.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        return swapped ? value.byteSwapped : value
      }
      let length = Int(field(8))
      guard length <= kind.longest else {
        end = .tooLong(length)
        break
      }
      guard position &+ 16 &+ length <= size else {
        end = .more(16 + length)
        break
      }
      let time = Int64(field(0)) &* 1_000_000_000 &+ Int64(field(4)) &* kind.unit
      (batch + count).initialize(
        to: CapturedPacket(
          time: time, interface: 0, linkType: kind.linkType, originalLength: field(12),
          bytes: UnsafeRawBufferPointer(start: record + 16, count: length)))
      count &+= 1
      position &+= 16 &+ length
      if count == Self.batchSize {
        body(UnsafeBufferPointer(start: batch, count: count))
        packetCount &+= UInt64(count)
        count = 0
      }
    }
    // What was collected is handed over before the buffer changes.
    if count > 0 { body(UnsafeBufferPointer(start: batch, count: count)) }
    packetCount &+= UInt64(count)
    return (position, end)
  }
}
