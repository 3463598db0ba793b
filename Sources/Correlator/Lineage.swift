import Evidence

/// Which process came of which, and which took whose place: a pool whose workers end one by one and
/// are replaced recycles them; one that ends together is restarted.
struct Lineage: Sendable {
  private var children: [Int32: [Child]] = [:]
  private var parentOf: [Int32: Int32] = [:]
  /// Requests that were answered on connections of each process.
  private var served: [Int32: Int] = [:]

  private struct Child {
    var process: ProcessIdentity
    var seen: Timestamp
    var ended: (time: Timestamp, isOrderly: Bool)?
  }

  private static let mostParents = 2000
  private static let mostChildren = 4000

  mutating func saw(_ process: ProcessIdentity, at time: Timestamp) {
    guard let parent = process.parent else { return }
    if let index = children[parent]?.firstIndex(where: { $0.process.pid == process.pid }) {
      // A pid comes again only after the one before it has ended.
      guard children[parent]?[index].process.startTicks != process.startTicks else { return }
      children[parent]?.remove(at: index)
    }
    if children[parent] == nil, children.count >= Self.mostParents { self = Lineage() }
    children[parent, default: []].append(Child(process: process, seen: time))
    if (children[parent]?.count ?? 0) > Self.mostChildren {
      children[parent]?.removeFirst(Self.mostChildren / 2)
    }
    parentOf[process.pid] = parent
  }

  /// - Parameter isOrderly: by an exit with code 0, or by a signal that asks to end.
  mutating func ended(_ pid: Int32, at time: Timestamp, isOrderly: Bool) {
    guard let parent = parentOf[pid],
      let index = children[parent]?.lastIndex(where: { $0.process.pid == pid })
    else { return }
    children[parent]?[index].ended = (time, isOrderly)
  }

  mutating func count(requests: Int, by pid: Int32) {
    if served.count > 20_000 { served = [:] }
    served[pid, default: 0] += requests
  }

  /// Nil when none was counted.
  func requestsServed(by pid: Int32) -> Int? { served[pid] }

  func parent(of pid: Int32) -> Int32? { parentOf[pid] }

  /// Whether a process had been seen before a moment; one whose parent is not known counts as seen.
  func wasThere(_ pid: Int32, before time: Timestamp) -> Bool {
    guard let parent = parentOf[pid],
      let child = children[parent]?.last(where: { $0.process.pid == pid })
    else { return true }
    return child.seen < time
  }

  /// How many of its siblings had ended in an orderly way before it, each on its own: half a second and
  /// more from it and from each other.
  func earlierRecycles(before time: Timestamp, of pid: Int32) -> Int {
    let ends = orderlyEnds(of: pid).filter { $0.pid != pid && $0.time <= time - .milliseconds(500) }
    var (count, last) = (0, Timestamp(nanoseconds: .min / 2))
    for end in ends where end.time - last >= .milliseconds(500) {
      count += 1
      last = end.time
    }
    return count
  }

  /// The sibling that first appeared around or after the end of a process.
  func successor(of pid: Int32, endedAt time: Timestamp) -> ProcessIdentity? {
    guard let parent = parentOf[pid], let all = children[parent],
      let own = all.last(where: { $0.process.pid == pid })
    else { return nil }
    return all.first { child in
      guard child.process.pid != pid, child.seen >= time - .seconds(2),
        child.seen <= time + .seconds(10)
      else { return false }
      guard let ticks = child.process.startTicks, let before = own.process.startTicks else {
        return true
      }
      // What is younger by no more than the pool's own start is a sibling of the first hour.
      return ticks > before
    }?.process
  }

  /// The requests that workers had answered when they ended in an orderly way, in order of the end.
  func servedAtRecycle(among pids: Set<Int32>) -> [Int] {
    children.values.joined().filter { pids.contains($0.process.pid) && $0.ended?.isOrderly == true }
      .compactMap { child in served[child.process.pid].map { (child.ended?.time, $0) } }
      .sorted { ($0.0 ?? .init(nanoseconds: 0), $0.1) < ($1.0 ?? .init(nanoseconds: 0), $1.1) }
      .map(\.1)
  }

  private func orderlyEnds(of pid: Int32) -> [(pid: Int32, time: Timestamp)] {
    guard let parent = parentOf[pid] else { return [] }
    return (children[parent] ?? []).compactMap { child in
      child.ended.flatMap { $0.isOrderly ? (child.process.pid, $0.time) : nil }
    }.sorted { $0.1 < $1.1 }
  }
}

/// What is known of the pool that a dead worker belonged to.
struct Recycling {
  /// Siblings that had ended likewise before, each on its own.
  var earlier: Int
  var successor: ProcessIdentity?
  /// Its parent is still there; nil: the parent is not known.
  var parentLives: Bool?
  /// Requests that it had answered, as far as its connections have been counted.
  var served: Int?
}
