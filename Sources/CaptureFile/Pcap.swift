extension CaptureReader {
  mutating func readPcap(
    swapped: Bool, nanoseconds: Bool, _ body: (CapturedPacket) -> Void
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
    while true {
      // All whole records in the buffer, then read on.
      let bytes = source.available
      var position = 0
      var needed = 16
      while position + 16 <= bytes.count {
        let length = Int(order.u32(bytes, position + 8))
        guard length <= longest else {
          source.consume(position)
          throw failure("a packet of \(length) bytes: the file is damaged")
        }
        needed = 16 + length
        guard position + needed <= bytes.count else { break }
        let seconds = Int64(order.u32(bytes, position))
        let fraction = Int64(order.u32(bytes, position + 4))
        body(
          CapturedPacket(
            time: seconds &* 1_000_000_000 &+ fraction &* unit, interface: 0, linkType: linkType,
            originalLength: order.u32(bytes, position + 12),
            bytes: UnsafeRawBufferPointer(rebasing: bytes[(position + 16)..<(position + needed)])))
        packetCount &+= 1
        position += needed
        needed = 16
      }
      source.consume(position)
      if try !source.fill(needed) {
        if source.available.isEmpty { return }
        throw failure("the file ends within a packet")
      }
    }
  }
}
