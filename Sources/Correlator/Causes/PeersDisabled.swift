import Evidence

/// "no live upstreams" is never a cause: it points to the failures that disabled the peers.
struct PeersDisabled: CauseRule {
  let id = CauseID.peersDisabled

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard c.line.message == .noLiveUpstreams else { return [] }
    var items = [
      EvidenceItem("nginx", "no peer was left to try: nothing was sent", decibans: 30)
    ]
    for failure in c.disabling {
      let gap = c.time.best - failure.time.best
      // Times of plain files are seconds.
      let isRough = failure.time.latest - failure.time.earliest > .milliseconds(500)
      let when = isRough && gap < .seconds(1) ? "in the same second" : "\(gap) before"
      items.append(
        EvidenceItem(
          "nginx", "\(failure.peer) failed \(when) (incident \(failure.incident))",
          decibans: 5, time: failure.time.best))
    }
    if c.disabling.isEmpty {
      items.append(
        EvidenceItem(
          "nginx",
          "the failures that disabled the peers were not seen: before this session, in "
            + "another worker, by http_5xx, or max_conns", decibans: -5))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    let roots = c.disabling.map { "\($0.incident)" }.joined(separator: ", ")
    let servers = c.group?.servers.filter { $0.maxFails > 0 } ?? []
    let now = servers.map(\.maxFails).max()
    let time = servers.map(\.failTimeout).max().map { " for \($0)" } ?? ""
    let rule =
      now.map {
        $0 == 1
          ? "one failure disables a peer\(time) (max_fails=1)"
          : "\($0) failures disable a peer\(time)"
      } ?? "one failure disables a peer for 10 s, if nothing else is set"
    return Fix(
      directive: "max_fails", value: "\(max(3, (now ?? 1) * 2))", place: c.place,
      text: roots.isEmpty
        ? "find what made the peers fail; \(rule)" : "mend incidents \(roots); \(rule)",
      tradeOff: "a dead peer costs more tries before it is left alone")
  }
}
