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
    /// Idle time before each close, of the stale races; a sample.
    var idle: [TimeSpan] = []
  }

  mutating func add(_ incident: Incident, _ example: Case) {
    let key = Key(incident)
    let time = incident.time.best
    var group = groups[key] ?? Group(first: time, last: time, example: example)
    group.count += 1
    group.first = min(group.first, time)
    group.last = max(group.last, time)
    group.example = example
    if key.cause == .staleKeepalive, let idle = incident.close?.idleBeforeClose,
      group.idle.count < 10_000
    {
      group.idle.append(idle)
    }
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

  /// - Parameter idleTimeout: each upstream's own limit as it stands at the end.
  func findings(idleTimeout: (String) -> Estimate?) -> [Finding] {
    var errors: [String: Int] = [:]
    for (key, group) in groups { errors[key.upstream, default: 0] += group.count }
    return groups.sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }.map { key, group in
      var example = group.example
      let timeout = idleTimeout(key.upstream)
      example.idleTimeout = timeout ?? example.idleTimeout
      let rule = causeRules.first { $0.id == key.cause }
      return Finding(
        cause: key.cause, upstream: key.upstream, errors: group.count,
        ofErrors: errors[key.upstream] ?? group.count, first: group.first, last: group.last,
        text: sentence(key.cause, example) + prevented(group, timeout), fix: rule?.fix(example),
        idleTimeout: key.cause == .staleKeepalive ? timeout : nil)
    }
  }

  /// What the advised value would have done, had it been set: nginx lets go of a connection before
  /// the backend does, so a close after a longer idle time finds no request in flight.
  private func prevented(_ group: Group, _ timeout: Estimate?) -> String {
    guard let timeout, !group.idle.isEmpty else { return "" }
    let value = StaleKeepalive.shorter(than: timeout.value)
    let count = group.idle.count { $0 > value }
    return "; the value below would have prevented \(count) of \(group.idle.count)"
  }

  private func sentence(_ cause: CauseID, _ example: Case) -> String {
    if cause == .staleKeepalive, let timeout = example.idleTimeout {
      let kept = example.group?.keepaliveTimeout.map { "; nginx keeps them \($0)" } ?? ""
      return "closes idle connections after \(timeout.value) (n=\(timeout.count), "
        + "spread \(timeout.spread))\(kept)"
    }
    let items = causeRules.first { $0.id == cause }?.weigh(example) ?? []
    let strongest = items.filter { $0.decibans > 4 }.sorted { $0.decibans > $1.decibans }.prefix(2)
    return strongest.isEmpty ? example.line.text : strongest.map(\.text).joined(separator: "; ")
  }
}
