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
    var child = entries.count
    entries.append(Entry(time: time, number: number))
    while child > 0 {
      let parent = (child - 1) / 2
      guard entries[child].time < entries[parent].time else { break }
      entries.swapAt(child, parent)
      child = parent
    }
    next = entries[0].time
  }

  mutating func pop() -> (time: Int64, number: UInt32)? {
    guard let first = entries.first, let last = entries.popLast() else { return nil }
    if entries.isEmpty {
      next = .max
      return (first.time, first.number)
    }
    entries[0] = last
    var parent = 0
    while true {
      var child = parent * 2 + 1
      if child >= entries.count { break }
      if child + 1 < entries.count, entries[child + 1].time < entries[child].time { child += 1 }
      guard entries[child].time < entries[parent].time else { break }
      entries.swapAt(child, parent)
      parent = child
    }
    next = entries[0].time
    return (first.time, first.number)
  }
}
