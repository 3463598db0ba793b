import Evidence

/// What was counted, and the summary.
extension Correlator {
  mutating func count(_ incident: Incident, by one: Int) {
    if incident.close == nil {
      books.unmatched += one
      let reason = incident.match.unmatchedBecause ?? "unknown"
      books.unmatchedBecause[reason, default: 0] += one
      if books.unmatchedBecause[reason] == 0 { books.unmatchedBecause[reason] = nil }
    } else {
      books.matched += one
      if incident.match.confidence < 0.9 { books.ambiguous += one }
    }
    if let endpoint = incident.upstream.flatMap({ Endpoint($0) }) {
      withTally(endpoint) { $0.statistics.errors += one }
    }
  }

  /// Errors that no one looked into: there were too many like them.
  mutating func count(_ crowd: NginxErrorCount) {
    let number = Int(clamping: crowd.count)
    books.errors += number
    books.unmatched += number
    books.unmatchedBecause["too many alike, only counted", default: 0] += number
    started = min(started ?? crowd.first, crowd.first)
    ended = max(ended ?? crowd.last, crowd.last)
    if case .tcp(let endpoint)? = crowd.upstream {
      withTally(endpoint) { $0.statistics.errors += number }
    }
  }

  mutating func countUnexplained(_ connections: [Connection], at endpoint: Endpoint) {
    let abnormal = connections.filter {
      $0.closer == .responder && ($0.phase != .idle && $0.phase != .unknown || $0.requestAfterFIN)
        && $0.manner != .refused
    }
    guard !abnormal.isEmpty else { return }
    books.unexplainedCloses += abnormal.count
    withTally(endpoint) { $0.statistics.unexplainedCloses += abnormal.count }
  }

  /// Everything so far, for a report. Call it after `finish`.
  public func summary() -> Summary {
    var upstreams: [UpstreamStatistics] = []
    for (endpoint, tally) in tallies.sorted(by: { $0.key < $1.key })
    where isUpstream(endpoint, tally) {
      var statistics = tally.statistics
      statistics.group = groupsOf[.tcp(endpoint)].map {
        Set($0.map(\.name)).sorted().joined(separator: ", ")
      }
      statistics.idleTimeout = tally.idleTimeout
      statistics.causes = findings.causes(of: endpoint.description)
      statistics.processes = host.backends(of: endpoint).suffix(8).map {
        "pid \($0.pid) (\($0.command))"
      }
      upstreams.append(statistics)
    }
    var books = books
    books.incidentsDropped = standing.dropped
    books.sources = counters.values.sorted { $0.source < $1.source }
    let found = findings.findings { upstream in
      Endpoint(upstream).flatMap { tallies[$0]?.idleTimeout }
    }
    return Summary(
      started: started, ended: ended, incidents: standing.all,
      findings: found + risks(except: found),
      upstreams: upstreams,
      books: books, blindSpots: blindSpots + derivedBlindSpots(upstreams))
  }

  /// What will fail sooner or later, though it has not yet: a backend that closes idle connections
  /// before nginx lets go of them.
  private func risks(except found: [Finding]) -> [Finding] {
    var risks: [Finding] = []
    for (endpoint, tally) in tallies.sorted(by: { $0.key < $1.key }) {
      guard let timeout = tally.idleTimeout, timeout.count >= 5, let started, let ended,
        !found.contains(where: {
          $0.upstream == endpoint.description && $0.cause == .staleKeepalive
        })
      else { continue }
      let late = (groupsOf[.tcp(endpoint)] ?? []).filter {
        $0.keepalive != nil && $0.keepaliveTimeout.map { $0 >= timeout.value } ?? false
      }
      guard let kept = late.compactMap(\.keepaliveTimeout).max() else { continue }
      risks.append(
        Finding(
          cause: .staleKeepalive, upstream: endpoint.description, errors: 0,
          ofErrors: tally.statistics.errors, first: started, last: ended,
          text: "closes idle connections after \(timeout.value) (n=\(timeout.count), spread "
            + "\(timeout.spread)); nginx keeps them \(kept): a request sent at that moment is lost",
          fix: StaleKeepalive.fix(timeout: timeout.value, place: late.place),
          idleTimeout: timeout))
    }
    return risks
  }

  /// A capture may hold connections of others; an upstream is one that nginx names or we probe. When
  /// nothing says so, all count.
  private func isUpstream(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Bool {
    groupsOf[.tcp(endpoint)] != nil || tally.statistics.errors > 0 || tally.statistics.checks > 0
      || groupsOf.isEmpty && books.errors == 0
  }

  private func derivedBlindSpots(_ upstreams: [UpstreamStatistics]) -> [BlindSpot] {
    let remote = upstreams.filter {
      $0.processes.isEmpty && $0.abnormalCloses > 0
        && Endpoint($0.upstream)?.address.isLoopback != true
    }
    guard host.watchedProcesses, !remote.isEmpty else { return [] }
    return [
      BlindSpot(
        id: "remote-backend",
        what: "no process on this host serves \(remote.map(\.upstream).joined(separator: ", "))",
        cost: "a kill or a crash over there looks like a close by choice",
        remedy: "read the kernel's log there: dmesg -T | grep -Ei 'killed process|segfault'")
    ]
  }
}
