extension CaptureReader {
  /// Enough to hide a table's cache misses, few enough to stay in the first cache themselves.
  private static var batchSize: Int { 16 }

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
    let unit: Int64 = nanoseconds ? 1 : 1000
    let batch = UnsafeMutablePointer<CapturedPacket>.allocate(capacity: Self.batchSize)
    defer { batch.deallocate() }
    while true {
      // All whole records in the buffer, then read on.
      let bytes = source.available
      var position = 0
      var needed = 16
      var count = 0
      /// What was collected is handed over before the buffer changes.
      func handOver() {
        if count > 0 { body(UnsafeBufferPointer(start: batch, count: count)) }
        packetCount &+= UInt64(count)
        count = 0
      }
      while position + 16 <= bytes.count {
        let length = Int(order.u32(bytes, position + 8))
        guard length <= longest else {
          handOver()
          source.consume(position)
          throw failure("a packet of \(length) bytes: the file is damaged")
        }
        needed = 16 + length
        guard position + needed <= bytes.count else { break }
        let seconds = Int64(order.u32(bytes, position))
        let fraction = Int64(order.u32(bytes, position + 4))
        (batch + count).initialize(
          to: CapturedPacket(
            time: seconds &* 1_000_000_000 &+ fraction &* unit, interface: 0, linkType: linkType,
            originalLength: order.u32(bytes, position + 12),
            bytes: UnsafeRawBufferPointer(
              start: bytes.baseAddress.map { $0 + (position + 16) }, count: length)))
        count += 1
        if count == Self.batchSize { handOver() }
        position += needed
        needed = 16
      }
      handOver()
      source.consume(position)
      if try !source.fill(needed) {
        if source.available.isEmpty { return }
        throw cut(within: "a packet")
      }
    }
  }
}
