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
    return Fix(
      directive: "max_fails", value: "3", place: c.place,
      text: roots.isEmpty
        ? "find what made the peers fail; one failure disables a peer at max_fails=1"
        : "mend incidents \(roots); one failure disables a peer at max_fails=1",
      tradeOff: "a dead peer costs more tries before it is left alone")
  }
}
