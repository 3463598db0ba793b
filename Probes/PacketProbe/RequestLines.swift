import Evidence

/// The first words of requests that wait for their answer: `METHOD target` up to the query string.
/// Nothing else of any payload is kept, and this no longer than the answer takes.
///
/// Where a capture does not tell when an answer is whole, lines stay until the connection's next
/// request, or until another connection needs the room.
struct RequestLines: ~Copyable {
  /// What fits; the rest of a longer target is left out.
  static let capacity = Shelf.longSize - 1

  /// Most lines fit into one cache line.
  private var short = Shelf(size: 64)
  private var long = Shelf(size: Shelf.longSize)
  private static var isLong: UInt32 { 1 << 31 }

  /// Keeps a line, in the place of the connection's last one.
  /// - Parameters:
  ///   - number: of the last line; 0 for none.
  ///   - owner: the connection.
  ///   - giveWay: whether the line of another connection is no longer needed; it then no longer has
  ///     one.
  /// - Returns: the line's number; 0 when there is no room.
  mutating func keep(
    _ bytes: UnsafeRawBufferPointer, _ number: UInt32, for owner: UInt32,
    _ giveWay: (UInt32) -> Bool
  ) -> UInt32 {
    let isLong = bytes.count > 63
    var number = number
    if number != 0, (number & Self.isLong != 0) != isLong {
      drop(number)
      number = 0
    }
    if isLong {
      let kept = long.keep(bytes, number & ~Self.isLong, for: owner, giveWay)
      return kept == 0 ? 0 : kept | Self.isLong
    }
    return short.keep(bytes, number, for: owner, giveWay)
  }

  mutating func drop(_ number: UInt32) {
    if number == 0 { return }
    if number & Self.isLong != 0 {
      long.drop(number & ~Self.isLong)
    } else {
      short.drop(number)
    }
  }

  /// The line, safe to print; nil for number 0.
  func read(_ number: UInt32) -> String? {
    if number == 0 { return nil }
    return number & Self.isLong != 0 ? long.read(number & ~Self.isLong) : short.read(number)
  }

  /// Lines of up to a certain length, each with its length before it.
  private struct Shelf: ~Copyable {
    static let longSize = 240
    /// Beyond this many lines, those of answered requests give way.
    private static let enough = 4096
    /// Beyond this many unanswered requests, lines are no longer kept.
    private static let most = 1 << 16
    private static let perBlock = 64
    /// How many lines are looked at for one that may give way.
    private static let looks = 16

    private let size: Int
    /// The connection of each line.
    private var owners: [UInt32] = []
    private var free: [UInt32] = []
    private var blocks: [UnsafeMutableRawPointer] = []
    private var hand = 0

    init(size: Int) { self.size = size }

    deinit { for block in blocks { block.deallocate() } }

    mutating func keep(
      _ bytes: UnsafeRawBufferPointer, _ number: UInt32, for owner: UInt32,
      _ giveWay: (UInt32) -> Bool
    ) -> UInt32 {
      let number = number == 0 ? take(for: owner, giveWay) : number
      guard number != 0, let source = bytes.baseAddress else { return number }
      let text = text(number)
      let length = min(bytes.count, size - 1)
      text.storeBytes(of: UInt8(length), as: UInt8.self)
      (text + 1).copyMemory(from: source, byteCount: length)
      return number
    }

    private mutating func take(for owner: UInt32, _ giveWay: (UInt32) -> Bool) -> UInt32 {
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
      blocks.append(.allocate(byteCount: Self.perBlock * size, alignment: 64))
      owners.append(contentsOf: repeatElement(0, count: Self.perBlock))
      for offset in (0..<UInt32(Self.perBlock)).reversed() { free.append(base + offset) }
    }

    mutating func drop(_ number: UInt32) { free.append(number - 1) }

    func read(_ number: UInt32) -> String {
      let text = text(number)
      let length = Int(text.load(as: UInt8.self))
      return String(escapingControlsIn: UnsafeRawBufferPointer(start: text + 1, count: length))
    }

    private func text(_ number: UInt32) -> UnsafeMutableRawPointer {
      let slot = Int(number - 1)
      return blocks[slot / Self.perBlock] + slot % Self.perBlock * size
    }
  }
}
