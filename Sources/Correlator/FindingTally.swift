import Evidence

/// Counts incidents by upstream and cause (and, where nginx gave up, by what it gave up on, since each
/// of its limits is another directive), with the latest case of each, from which the fix is made.
struct FindingTally {
  private var groups: [Key: Group] = [:]

  private struct Key: Hashable, Comparable {
    var upstream: String
    var cause: CauseID
    var kind: NginxMessage?

    init(_ incident: Incident) {
      upstream = incident.upstream ?? "-"
      cause = incident.verdict.cause
      kind = cause == .nginxClosedFirst ? incident.kind : nil
    }

    static func < (a: Key, b: Key) -> Bool {
      (a.upstream, a.cause.rawValue, a.kind?.rawValue ?? "")
        < (b.upstream, b.cause.rawValue, b.kind?.rawValue ?? "")
    }
  }

  private struct Group {
    var count = 0
    var first: Timestamp
    var last: Timestamp
    var example: Case
  }

  mutating func add(_ incident: Incident, _ example: Case) {
    let key = Key(incident)
    let time = incident.time.best
    var group = groups[key] ?? Group(first: time, last: time, example: example)
    group.count += 1
    group.first = min(group.first, time)
    group.last = max(group.last, time)
    group.example = example
    groups[key] = group
  }

  /// Takes back an incident whose verdict is about to change.
  mutating func remove(_ incident: Incident) {
    let key = Key(incident)
    groups[key]?.count -= 1
    if groups[key]?.count == 0 { groups[key] = nil }
  }

  func causes(of upstream: String) -> [String: Int] {
    var result: [String: Int] = [:]
    for (key, group) in groups where key.upstream == upstream {
      result[key.cause.rawValue, default: 0] += group.count
    }
    return result
  }

  /// In order of their number, the most first.
  func groupsInOrder() -> [Tallied] {
    groups.sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }.map { key, group in
      Tallied(
        upstream: key.upstream, cause: key.cause, kind: key.kind, count: group.count,
        first: group.first, last: group.last, example: group.example)
    }
  }

  struct Tallied {
    var upstream: String
    var cause: CauseID
    var kind: NginxMessage?
    var count: Int
    var first: Timestamp
    var last: Timestamp
    var example: Case
  }
}
