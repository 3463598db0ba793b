import Evidence

/// The first words of requests that wait for their answer: `METHOD target` up to the query string.
/// Nothing else of any payload is kept, and this no longer than the answer takes.
///
/// Where a capture does not tell when an answer is whole, lines stay until the connection's next
/// request, or until another connection needs the room.
struct RequestLines: ~Copyable {
  /// What fits: a longer target is cut and ends in `…`.
  static let capacity = 240
  /// Beyond this many lines, those of answered requests give way.
  private static let enough = 4096
  /// Beyond this many unanswered requests, lines are no longer kept.
  private static let most = 1 << 16
  private static let perBlock = 64
  /// How many lines are looked at for one that may give way.
  private static let looks = 16

  private var lengths: [UInt8] = []
  /// The connection of each line.
  private var owners: [UInt32] = []
  private var free: [UInt32] = []
  private var blocks: [UnsafeMutableRawPointer] = []
  private var hand = 0

  deinit { for block in blocks { block.deallocate() } }

  /// Finds room for a line.
  /// - Parameter giveWay: whether the line of this connection is no longer needed; it then no longer
  ///   has one.
  /// - Returns: the line's number; 0 when there is no room.
  mutating func take(for owner: UInt32, _ giveWay: (UInt32) -> Bool) -> UInt32 {
    if free.isEmpty, owners.count >= Self.enough, let slot = takeAway(giveWay) {
      owners[slot] = owner
      return UInt32(slot) + 1
    }
    if free.isEmpty, owners.count < Self.most { addBlock() }
    guard let slot = free.popLast() else { return 0 }
    owners[Int(slot)] = owner
    return slot + 1
  }

  private mutating func takeAway(_ giveWay: (UInt32) -> Bool) -> Int? {
    for _ in 0..<Self.looks {
      let slot = hand
      hand = hand + 1 < owners.count ? hand + 1 : 0
      if giveWay(owners[slot]) { return slot }
    }
    return nil
  }

  private mutating func addBlock() {
    let base = UInt32(owners.count)
    blocks.append(.allocate(byteCount: Self.perBlock * Self.capacity, alignment: 8))
    lengths.append(contentsOf: repeatElement(0, count: Self.perBlock))
    owners.append(contentsOf: repeatElement(0, count: Self.perBlock))
    for offset in (0..<UInt32(Self.perBlock)).reversed() { free.append(base + offset) }
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, _ number: UInt32) {
    guard number != 0 else { return }
    let length = min(bytes.count, Self.capacity)
    if let source = bytes.baseAddress { text(number - 1).copyMemory(from: source, byteCount: length) }
    lengths[Int(number - 1)] = UInt8(length)
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
