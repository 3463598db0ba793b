import Glibc

/// Records of one kind in one growing block of memory, named by a number, with a list of free ones.
/// Number 0 is never given out and stands for "none".
///
/// Growth is `realloc`, which moves pages and copies nothing once the block is large; a pointer into
/// it is valid until the next `take`.
struct Pool<Record: BitwiseCopyable>: ~Copyable {
  private var records: UnsafeMutablePointer<Record>
  private var capacity: Int
  private var free: [UInt32] = []
  /// Numbers given out so far, without those taken back; every record's number is below it.
  private(set) var end: UInt32 = 1

  init(capacity: Int = 64) {
    self.capacity = max(capacity, 2)
    records = Self.grow(nil, to: self.capacity)
  }

  deinit { Glibc.free(records) }

  /// Records in use.
  var count: Int { Int(end) - 1 - free.count }

  @inline(__always)
  subscript(_ number: UInt32) -> UnsafeMutablePointer<Record> { records + Int(number) }

  mutating func take(_ record: Record) -> UInt32 {
    if let number = free.popLast() {
      records[Int(number)] = record
      return number
    }
    if Int(end) == capacity {
      capacity *= 2
      records = Self.grow(records, to: capacity)
    }
    let number = end
    end += 1
    records[Int(number)] = record
    return number
  }

  mutating func giveBack(_ number: UInt32) { free.append(number) }

  private static func grow(
    _ old: UnsafeMutablePointer<Record>?, to capacity: Int
  ) -> UnsafeMutablePointer<Record> {
    let size = capacity * MemoryLayout<Record>.stride
    guard let memory = realloc(old, size) else {
      // Without memory for its table the process cannot go on; Swift's own arrays trap too.
      preconditionFailure("out of memory: \(size) bytes for the connection table")
    }
    return memory.bindMemory(to: Record.self, capacity: capacity)
  }
}
