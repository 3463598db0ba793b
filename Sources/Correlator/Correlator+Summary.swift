import Evidence

/// What is said at the end.
extension Correlator {
  /// Everything so far, for a report. Call it after `finish`.
  /// - Parameter whatIf: settings whose effect is to be counted.
  public func summary(whatIf settings: [WhatIfSetting] = []) -> Summary {
    let upstreams = statistics()
    var books = books
    books.incidentsDropped = standing.dropped
    books.sources = counters.values.sorted { $0.source < $1.source }
    let found = causeFindings()
    var summary = Summary(
      started: started, ended: ended, incidents: incidentsWithEffects(),
      findings: found + risks(except: found), upstreams: upstreams, books: books,
      blindSpots: blindSpots + derivedBlindSpots(upstreams))
    summary.comparisons = Comparing.compare(upstreams, in: instances.flatMap(\.upstreams))
    summary.whatIf = settings.flatMap { whatIf($0) }
    return summary
  }

  private func statistics() -> [UpstreamStatistics] {
    var upstreams: [UpstreamStatistics] = []
    for (endpoint, tally) in tallies.sorted(by: { $0.key < $1.key })
    where isUpstream(endpoint, tally) {
      let groups = groupsOf[.tcp(endpoint)]
      var statistics = tally.measured()
      statistics.group = groups.map { Set($0.map(\.name)).sorted().joined(separator: ", ") }
      statistics.causes = findings.causes(of: endpoint.description)
      statistics.processes = host.backends(of: endpoint).suffix(8).map {
        "pid \($0.pid) (\($0.command))"
      }
      statistics.evicted = evictions(tally, groups ?? [])
      upstreams.append(statistics)
    }
    return upstreams
  }

  /// Each incident with those that it led to.
  private func incidentsWithEffects() -> [Incident] {
    var effects: [Int: [Int]] = [:]
    for incident in standing.all {
      for root in incident.roots { effects[root, default: []].append(incident.id) }
    }
    guard !effects.isEmpty else { return standing.all }
    return standing.all.map { incident in
      guard let led = effects[incident.id] else { return incident }
      var incident = incident
      incident.ledTo = Array(led.prefix(100))
      incident.ledToCount = led.count
      return incident
    }
  }

  // MARK: Findings

  private func causeFindings() -> [Finding] {
    let groups = findings.groupsInOrder()
    var errors: [String: Int] = [:]
    for group in groups { errors[group.upstream, default: 0] += group.count }
    var byRoot: [Int: Int] = [:]
    for incident in standing.all { for root in incident.roots { byRoot[root, default: 0] += 1 } }
    return groups.map { group in
      finding(group, ofErrors: errors[group.upstream] ?? group.count, byRoot)
    }
  }

  private func finding(
    _ group: FindingTally.Tallied, ofErrors: Int, _ byRoot: [Int: Int]
  ) -> Finding {
    let tally = Endpoint(group.upstream).flatMap { tallies[$0] }
    var example = group.example
    // The fix is made from what is known at the end.
    example.idleTimeout = tally?.habits.idle.latest ?? example.idleTimeout
    example.requestLimit = tally?.habits.requestLimit ?? example.requestLimit
    example.requestAge = tally?.habits.age.latest ?? example.requestAge
    example.sizeThreshold = tally?.habits.sizeThreshold ?? example.sizeThreshold
    let fix = causeRules.first { $0.id == group.cause }?.fix(example)
    var finding = Finding(
      cause: group.cause, upstream: group.upstream, errors: group.count, ofErrors: ofErrors,
      first: group.first, last: group.last, text: sentence(group.cause, example), fix: fix)
    let incidents = standing.all.filter {
      $0.upstream == group.upstream && $0.verdict.cause == group.cause
        && (group.kind == nil || $0.kind == group.kind)
    }
    finding.ledTo = incidents.reduce(0) { $0 + (byRoot[$1.id] ?? 0) }
    addMeasured(&finding, tally, example)
    if let setting = fix.flatMap(Self.setting) {
      let result = whatIf(setting, on: group.upstream, incidents)
      if result.ofErrors > 0 { finding.whatIf = result }
    }
    finding.notes = notes(finding, incidents, tally)
    return finding
  }

  private static func setting(_ fix: Fix) -> WhatIfSetting? {
    guard let directive = fix.directive, let value = fix.value else { return nil }
    return WhatIfSetting("\(directive)=\(value)")
  }

  /// Only what bears on the cause.
  private func addMeasured(_ finding: inout Finding, _ tally: UpstreamTally?, _ example: Case) {
    switch finding.cause {
    case .staleKeepalive, .changedDefaults, .middlebox:
      finding.idleTimeout = tally?.habits.idle.latest
    case .requestLimit: finding.requestLimit = tally?.habits.requestLimit
    case .masterTimeout, .closedWithoutResponse, .killed:
      finding.requestAge = tally?.habits.age.latest
    case .headerTooLarge, .bodyTooLarge: finding.sizeThreshold = tally?.habits.sizeThreshold
    case .workerRecycle, .exited:
      let served = host.lineage.servedAtRecycle(among: Set(example.backends.map(\.pid))).sorted()
      guard let least = served.first, let most = served.last else { return }
      finding.recycledAfter = [least, served[served.count / 2], most]
    default: break
    }
  }

  private func notes(
    _ finding: Finding, _ incidents: [Incident], _ tally: UpstreamTally?
  ) -> [String] {
    var notes: [String] = []
    if finding.recycledAfter.count == 3, finding.recycledAfter[2] > 0 {
      let range = finding.recycledAfter
      notes.append(
        range[0] == range[2]
          ? "workers ended after \(range[0]) requests"
          : "workers ended after \(range[0]) to \(range[2]) requests (median \(range[1]))")
    }
    if finding.ledTo > 0 {
      let each = Double(finding.ledTo) / Double(max(1, finding.errors))
      let rate = finding.errors > 1 ? ", \(Self.tenths(each)) each" : ""
      notes.append(
        "led to \(finding.ledTo) \"no live upstreams\"\(rate): nginx left the peer out")
    }
    let risky = incidents.count {
      $0.retrySafety.isSafe == false && ($0.clientStatus ?? 500) >= 500
    }
    if risky > 0, finding.cause != .truncatedResponse {
      notes.append(
        incidents.count == 1
          ? "the request may have been executed all the same: a retry may do it twice"
          : "\(risky) of \(incidents.count) requests may have been executed all the same: a retry may do "
            + "them twice")
    }
    if let slower = tally?.latency.rise(before: incidents.map(\.time)) { notes.append(slower) }
    return notes
  }

  /// With one decimal.
  static func tenths(_ value: Double) -> String {
    let scaled = Int((value * 10).rounded())
    return scaled % 10 == 0 ? "\(scaled / 10)" : "\(scaled / 10).\(scaled % 10)"
  }

  private func sentence(_ cause: CauseID, _ example: Case) -> String {
    if cause == .staleKeepalive, let timeout = example.idleTimeout {
      let kept = example.group?.keepaliveTimeout.map { "; nginx keeps them \($0)" } ?? ""
      return "closes idle connections after \(timeout.value) (n=\(timeout.count), "
        + "spread \(timeout.spread))\(kept)"
    }
    if cause == .requestLimit, let limit = example.requestLimit {
      let kept = example.group?.keepaliveRequests.map { "; nginx's own limit is \($0)" } ?? ""
      return
        "closes connections after \(limit.value) requests (\(limit.count) of \(limit.of) closes "
        + "right after an answer)\(kept)"
    }
    if cause == .headerTooLarge || cause == .bodyTooLarge, let size = example.sizeThreshold {
      return size.words + " (chance of that: \(Self.chance(size.chance)))"
    }
    if cause == .masterTimeout, let age = example.requestAge {
      return "ends requests at an age of \(age.value) (n=\(age.count), spread \(age.spread))"
    }
    let items = causeRules.first { $0.id == cause }?.weigh(example) ?? []
    let strongest = items.filter { $0.decibans > 4 }.sorted { $0.decibans > $1.decibans }.prefix(2)
    return strongest.isEmpty ? example.line.text : strongest.map(\.text).joined(separator: "; ")
  }

  /// As `0.004`, or a bound where it is smaller.
  public static func chance(_ p: Double) -> String {
    if p < 1e-6 { return "below 1 in a million" }
    if p < 0.001 { return "1 in \(Int((1 / p).rounded()))" }
    let scaled = Int((p * 1000).rounded())
    if scaled >= 1000 { return "1" }
    let digits = String(scaled)
    return "0." + String(repeating: "0", count: 3 - digits.count) + digits
  }
}
