import Evidence

/// The failures that nginx counts against its peers: the newest of each peer in each worker.
struct FailureLedger {
  private var newest: [UpstreamPeer: [Int32: PeerFailure]] = [:]
  private var count = 0

  mutating func add(_ failure: PeerFailure) {
    newest[failure.peer, default: [:]][failure.worker] = failure
    count += 1
    // Workers come and go; what is older than any fail_timeout in use disables nothing.
    guard count.isMultiple(of: 10_000) else { return }
    for peer in newest.keys {
      newest[peer] = newest[peer]?.filter {
        failure.time.best - $0.value.time.best < .seconds(3600)
      }
    }
  }

  /// The failure of each peer that still disables it at that moment: within fail_timeout, and the
  /// second that nginx's own rounding adds; in the same worker, unless the group shares a zone
  /// (nginx-1.22.1 ngx_http_upstream_round_robin.c:554).
  func disabling(
    _ line: NginxLine, at time: TimeEstimate, group: UpstreamGroup?
  ) -> [PeerFailure] {
    var found: [PeerFailure] = []
    for (peer, byWorker) in newest {
      let server = group?.servers.first { $0.peers.contains(peer) }
      if group != nil, server == nil { continue }
      let failure =
        group?.hasZone == true
        ? byWorker.values.max { $0.incident < $1.incident } : byWorker[line.worker]
      // Both times may be rounded to the second.
      let window = (server?.failTimeout ?? .seconds(10)) + .seconds(2)
      guard let failure, time.latest - failure.time.earliest <= window else { continue }
      found.append(failure)
    }
    return found.sorted { $0.incident < $1.incident }
  }
}
