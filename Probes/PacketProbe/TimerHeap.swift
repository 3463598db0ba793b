/// Deadlines in time order: a binary heap of (time, number).
///
/// An entry is never removed before its time; whoever pops it checks whether it still holds.
struct TimerHeap {
  private var entries: [Entry] = []

  private struct Entry {
    var time: Int64
    var number: UInt32
  }

  /// The earliest deadline; far in the future when there is none.
  private(set) var next: Int64 = .max

  var count: Int { entries.count }

  mutating func push(_ time: Int64, _ number: UInt32) {
    let entry = Entry(time: time, number: number)
    entries.append(entry)
    entries.withUnsafeMutableBufferPointer { heap in
      var hole = heap.count - 1
      while hole > 0 {
        let parent = (hole - 1) / 2
        guard time < heap[parent].time else { break }
        heap[hole] = heap[parent]
        hole = parent
      }
      heap[hole] = entry
      next = heap[0].time
    }
  }

  mutating func pop() -> (time: Int64, number: UInt32)? {
    guard let first = entries.first, let last = entries.popLast() else { return nil }
    if entries.isEmpty {
      next = .max
      return (first.time, first.number)
    }
    entries.withUnsafeMutableBufferPointer { heap in
      var hole = 0
      while true {
        var child = hole * 2 + 1
        if child >= heap.count { break }
        if child + 1 < heap.count, heap[child + 1].time < heap[child].time { child += 1 }
        guard heap[child].time < last.time else { break }
        heap[hole] = heap[child]
        hole = child
      }
      heap[hole] = last
      next = heap[0].time
    }
    return (first.time, first.number)
  }
}
