import Evidence

/// What will fail sooner or later, though it has not yet.
extension Correlator {
  func risks(except found: [Finding]) -> [Finding] {
    var risks: [Finding] = []
    for (endpoint, tally) in tallies.sorted(by: { $0.key < $1.key }) {
      let isToldAlready = found.contains {
        $0.upstream == endpoint.description
          && ($0.cause == .staleKeepalive || $0.cause == .changedDefaults)
      }
      if !isToldAlready, let risk = idleRisk(endpoint, tally) { risks.append(risk) }
      if let risk = poolRisk(endpoint, tally) { risks.append(risk) }
      if let risk = descriptorRisk(endpoint, tally) { risks.append(risk) }
    }
    return risks + workerRisks()
  }

  private func risk(
    _ cause: CauseID, _ endpoint: String, _ errors: Int, _ text: String, _ fix: Fix
  ) -> Finding {
    let none = Timestamp(nanoseconds: 0)
    return Finding(
      cause: cause, upstream: endpoint, errors: 0, ofErrors: errors, first: started ?? none,
      last: ended ?? none, text: text, fix: fix)
  }

  /// A backend that closes idle connections before nginx lets go of them. One that keeps them well
  /// longer is in order; a tie is a race, too (close-signatures, thread 38).
  private func idleRisk(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Finding? {
    guard let timeout = tally.habits.idle.latest, timeout.count >= 5 else { return nil }
    let margin = max(timeout.spread, .milliseconds(200))
    let late = (groupsOf[.tcp(endpoint)] ?? []).filter {
      $0.keepalive != nil && $0.keepaliveTimeout.map { $0 + margin >= timeout.value } ?? false
    }
    guard let kept = late.compactMap(\.keepaliveTimeout).max() else { return nil }
    let fix = StaleKeepalive.fix(timeout: timeout.value, place: late.place)
    var finding = risk(
      .staleKeepalive, endpoint.description, tally.statistics.errors,
      "closes idle connections after \(timeout.value) (n=\(timeout.count), spread "
        + "\(timeout.spread)); nginx keeps them \(kept): a request sent at that moment is lost", fix
    )
    finding.idleTimeout = timeout
    if let value = fix.value, let setting = WhatIfSetting("keepalive_timeout=\(value)") {
      let result = whatIf(setting, on: endpoint.description, [])
      if result.moreConnections != nil { finding.whatIf = result }
    }
    return finding
  }

  /// Connections that nginx had to let go for want of room: each is made anew under load.
  private func poolRisk(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Finding? {
    let groups = groupsOf[.tcp(endpoint)] ?? []
    guard let evicted = evictions(tally, groups), evicted >= 20,
      evicted * 10 >= tally.statistics.connectionsEnded,
      // A worker that ends lets go of its pool, too.
      !reloadsExplain(evicted),
      let pool = groups.compactMap(\.keepalive).max()
    else { return nil }
    let most = tally.habits.mostOpen.map { ", up to \($0) were open at once" } ?? ""
    let wanted = max(pool * 2, tally.habits.mostOpen ?? 0)
    return risk(
      .nginxLimits, endpoint.description, tally.statistics.errors,
      "nginx let go of \(evicted) idle connections because its pool of \(pool) a worker was full"
        + most,
      Fix(
        directive: "keepalive", value: "\(wanted)", place: groups.place,
        text:
          "the pool is smaller than the concurrency: connections are closed and made anew under load",
        tradeOff:
          "up to so many descriptors more in each worker, and idle connections on the backend"))
  }

  private func reloadsExplain(_ evicted: Int) -> Bool { reloads.count * 16 >= evicted }

  private func descriptorRisk(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Finding? {
    let backends = Set(host.backends(of: endpoint).map(\.pid))
    let full = ceilings.processes.values.filter {
      backends.contains($0.process.pid) && $0.use.share >= 0.9
    }.max { ($0.use.share, $1.process.pid) < ($1.use.share, $0.process.pid) }
    guard let full else { return nil }
    let name = processName(full.process)
    return risk(
      .acceptQueueOverflow, endpoint.description, tally.statistics.errors,
      "\(name) had \(full.use.used) of its \(full.use.limit) descriptors in use: at the limit it accepts no "
        + "connection",
      Fix(
        text:
          "raise LimitNOFILE= in its unit to \(full.use.limit * 4), or find what it does not close",
        tradeOff: "a higher limit only delays a leak"))
  }

  /// nginx's own workers, near their limits.
  private func workerRisks() -> [Finding] {
    var risks: [Finding] = []
    func fullest(_ resource: Ceilings.Resource) -> (pid: Int32, use: Ceilings.Use)? {
      ceilings.workers.compactMap { pid, uses in
        uses[resource].flatMap { $0.share >= 0.9 ? (pid, $0) : nil }
      }.max { ($0.1.share, $1.0) < ($1.1.share, $0.0) }
    }
    if let (pid, use) = fullest(.connections) {
      risks.append(
        risk(
          .nginxLimits, "nginx", books.errors,
          "worker \(pid) had \(use.used) of its \(use.limit) worker_connections in use",
          Fix(
            directive: "worker_connections", value: "\(use.limit * 4)", place: "events",
            text: "beyond them requests fail; both sides of every request count",
            tradeOff: "memory for each, allocated at start")))
    }
    if let (pid, use) = fullest(.descriptors) {
      risks.append(
        risk(
          .nginxLimits, "nginx", books.errors,
          "worker \(pid) had \(use.used) of its \(use.limit) descriptors in use",
          Fix(
            directive: "worker_rlimit_nofile", value: "\(use.limit * 4)", place: "main",
            text: "beyond them sockets cannot be made")))
    }
    return risks
  }
}
