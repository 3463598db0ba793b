/// Records of one kind, named by a number, in blocks that never move, with a list of free ones.
/// Number 0 is never given out and stands for "none".
struct Pool<Record: BitwiseCopyable>: ~Copyable {
  private var blocks: UnsafeMutablePointer<UnsafeMutablePointer<Record>>
  private var blockCount = 0
  private var blockCapacity = 16
  private var free: [UInt32] = []
  /// Numbers given out so far, without those taken back; every record's number is below it.
  private(set) var end: UInt32 = 1

  /// A block is small enough for a quiet host and large enough to be rare.
  private static var shift: UInt32 { 9 }
  private static var perBlock: Int { 1 << shift }

  init() {
    blocks = .allocate(capacity: blockCapacity)
    addBlock()
  }

  deinit {
    for block in 0..<blockCount { blocks[block].deallocate() }
    blocks.deallocate()
  }

  /// Records in use.
  var count: Int { Int(end) - 1 - free.count }

  @inline(__always)
  subscript(_ number: UInt32) -> UnsafeMutablePointer<Record> {
    blocks[Int(number >> Self.shift)] + Int(number & UInt32(Self.perBlock - 1))
  }

  mutating func take(_ record: Record) -> UInt32 {
    if let number = free.popLast() {
      self[number].initialize(to: record)
      return number
    }
    if Int(end) == blockCount * Self.perBlock { addBlock() }
    let number = end
    end += 1
    self[number].initialize(to: record)
    return number
  }

  mutating func giveBack(_ number: UInt32) { free.append(number) }

  private mutating func addBlock() {
    if blockCount == blockCapacity {
      let larger = UnsafeMutablePointer<UnsafeMutablePointer<Record>>.allocate(
        capacity: blockCapacity * 2)
      larger.moveInitialize(from: blocks, count: blockCount)
      blocks.deallocate()
      blocks = larger
      blockCapacity *= 2
    }
    (blocks + blockCount).initialize(to: .allocate(capacity: Self.perBlock))
    blockCount += 1
  }
}
