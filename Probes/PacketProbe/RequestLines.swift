import Evidence

/// The first words of requests that wait for their answer: `METHOD target` up to the query string.
/// Nothing else of any payload is kept, and this no longer than the answer takes.
struct RequestLines: ~Copyable {
  /// What fits: a longer target is cut and ends in `…`.
  static let capacity = 240
  /// Beyond this many unanswered requests, lines are no longer kept.
  private static let most = 1 << 16
  private var lengths: [UInt8] = []
  private var free: [UInt32] = []
  private var blocks: [UnsafeMutableRawPointer] = []
  private static let perBlock = 256

  deinit { for block in blocks { block.deallocate() } }

  /// - Returns: its number; 0 when it is not kept.
  mutating func keep(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    if free.isEmpty {
      guard blocks.count * Self.perBlock < Self.most else { return 0 }
      let base = UInt32(blocks.count * Self.perBlock)
      blocks.append(.allocate(byteCount: Self.perBlock * Self.capacity, alignment: 8))
      lengths.append(contentsOf: repeatElement(0, count: Self.perBlock))
      for offset in (0..<UInt32(Self.perBlock)).reversed() { free.append(base + offset) }
    }
    guard let slot = free.popLast() else { return 0 }
    let length = min(bytes.count, Self.capacity)
    if let source = bytes.baseAddress { text(slot).copyMemory(from: source, byteCount: length) }
    lengths[Int(slot)] = UInt8(length)
    return slot + 1
  }

  mutating func drop(_ number: UInt32) { if number != 0 { free.append(number - 1) } }

  /// The line, safe to print; nil for number 0.
  func read(_ number: UInt32) -> String? {
    guard number != 0 else { return nil }
    let slot = number - 1
    let bytes = UnsafeRawBufferPointer(start: text(slot), count: Int(lengths[Int(slot)]))
    return String(escapingControlsIn: bytes)
  }

  private func text(_ slot: UInt32) -> UnsafeMutableRawPointer {
    blocks[Int(slot) / Self.perBlock] + Int(slot) % Self.perBlock * Self.capacity
  }
}
