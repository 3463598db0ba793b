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
    for block in 0..<blockCount { UnsafeMutableRawPointer(blocks[block]).deallocate() }
    blocks.deallocate()
  }

  /// Records in use.
  var count: Int { Int(end) - 1 - free.count }

  @inline(__always)
  subscript(_ number: UInt32) -> UnsafeMutablePointer<Record> {
    blocks[Int(number >> Self.shift)] + Int(number & UInt32(Self.perBlock - 1))
  }

  /// The way to the records, good until the next `take`.
  struct BlockTable {
    fileprivate let blocks: UnsafeMutablePointer<UnsafeMutablePointer<Record>>

    @inline(__always)
    subscript(_ number: UInt32) -> UnsafeMutablePointer<Record> {
      blocks[Int(number >> Pool.shift)] + Int(number & UInt32(Pool.perBlock - 1))
    }
  }

  var blockTable: BlockTable { BlockTable(blocks: blocks) }

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
    // On a cache line's boundary, for what is laid out in lines.
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: Self.perBlock * MemoryLayout<Record>.stride, alignment: 64)
    (blocks + blockCount).initialize(to: raw.bindMemory(to: Record.self, capacity: Self.perBlock))
    blockCount += 1
  }
}
