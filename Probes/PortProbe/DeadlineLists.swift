/// The deadlines of many slots. All that wait equally long stand in one list, which is in order of
/// time by itself, so that adding, removing and finding the next cost the same for one slot as for
/// ten thousand.
struct DeadlineLists {
  private struct List {
    var length: Int64
    var first: Int32 = none
    var last: Int32 = none
  }
  private struct Link {
    var deadline: Int64 = 0
    var previous: Int32 = none
    var next: Int32 = none
    /// Which list it stands in; -1: in none.
    var list: Int32 = none
  }
  private static let none: Int32 = -1

  private var lists: [List] = []
  private var links: [Link]

  init(slots: Int) { links = Array(repeating: Link(), count: slots) }

  /// - Parameters:
  ///   - slot: if it waits already, that is over.
  ///   - length: nanoseconds from `now` on.
  mutating func set(_ slot: Int32, after length: Int64, now: Int64) {
    remove(slot)
    let list = list(of: length)
    let last = lists[list].last
    links[Int(slot)] = Link(
      deadline: now &+ length, previous: last, next: Self.none, list: Int32(list))
    if last == Self.none {
      lists[list].first = slot
    } else {
      links[Int(last)].next = slot
    }
    lists[list].last = slot
  }

  mutating func remove(_ slot: Int32) {
    let link = links[Int(slot)]
    guard link.list != Self.none else { return }
    if link.previous == Self.none {
      lists[Int(link.list)].first = link.next
    } else {
      links[Int(link.previous)].next = link.next
    }
    if link.next == Self.none {
      lists[Int(link.list)].last = link.previous
    } else {
      links[Int(link.next)].previous = link.previous
    }
    links[Int(slot)].list = Self.none
  }

  func isSet(_ slot: Int32) -> Bool { links[Int(slot)].list != Self.none }

  /// When the first of them is over; nil when none waits.
  var next: Int64? {
    var earliest: Int64?
    for list in lists where list.first != Self.none {
      let deadline = links[Int(list.first)].deadline
      earliest = min(earliest ?? deadline, deadline)
    }
    return earliest
  }

  /// Takes out one that is over; nil when there is none.
  mutating func takeDue(_ now: Int64) -> Int32? {
    for list in lists where list.first != Self.none {
      let slot = list.first
      guard links[Int(slot)].deadline <= now else { continue }
      remove(slot)
      return slot
    }
    return nil
  }

  /// There are as many as there are settings: a handful. One that is empty is used again.
  private mutating func list(of length: Int64) -> Int {
    if let found = lists.firstIndex(where: { $0.length == length }) { return found }
    if let empty = lists.firstIndex(where: { $0.first == Self.none }) {
      lists[empty].length = length
      return empty
    }
    lists.append(List(length: length))
    return lists.count - 1
  }
}
