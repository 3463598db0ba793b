import Evidence

/// What was counted.
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

  /// A capture may hold connections of others; an upstream is one that nginx names or we probe. When
  /// nothing says so, all count.
  func isUpstream(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Bool {
    groupsOf[.tcp(endpoint)] != nil || tally.statistics.errors > 0 || tally.statistics.checks > 0
      || groupsOf.isEmpty && books.errors == 0
  }

  func derivedBlindSpots(_ upstreams: [UpstreamStatistics]) -> [BlindSpot] {
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
