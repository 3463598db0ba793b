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
    return items + configured(c)
  }

  /// What the configuration says of the peers that no failure accounts for.
  private func configured(_ c: Case) -> [EvidenceItem] {
    var items: [EvidenceItem] = []
    let down = c.group?.servers.filter(\.isDown).map(\.name) ?? []
    if !down.isEmpty {
      items.append(
        EvidenceItem(
          "nginx", "\(down.joined(separator: ", ")): marked `down`, never tried", decibans: 2))
    }
    let limited = limited(c)
    if !limited.isEmpty {
      let names = limited.map { "\($0.name) (\($0.maxConnections ?? 0))" }
      let scope = c.group?.hasZone == true ? "" : ", which each worker counts by itself"
      items.append(
        EvidenceItem(
          "nginx",
          "\(names.joined(separator: ", ")): may have had max_conns connections\(scope); then it is "
            + "not tried, and nothing else is logged", decibans: 4))
    } else if c.disabling.isEmpty {
      let unless = c.group == nil ? ", by http_5xx, or max_conns" : ", or by http_5xx"
      items.append(
        EvidenceItem(
          "nginx",
          "the failures that disabled the peers were not seen: before this session, in "
            + "another worker\(unless)", decibans: -5))
    }
    return items
  }

  /// Servers with `max_conns` that could have been tried: neither down nor disabled.
  private func limited(_ c: Case) -> [UpstreamServer] {
    let disabled = Set(c.disabling.map(\.peer))
    return c.group?.servers.filter { server in
      !server.isDown && server.maxConnections != nil
        && !(server.peers.allSatisfy(disabled.contains) && !server.peers.isEmpty)
    } ?? []
  }

  func fix(_ c: Case) -> Fix? {
    if c.disabling.isEmpty, let most = limited(c).compactMap(\.maxConnections).max() {
      return Fix(
        directive: "max_conns", value: "\(most * 2)", place: c.place,
        text: "no failure is behind it, so every peer was at its max_conns: allow more, or add a "
          + "server with `backup`",
        tradeOff: "the backends get more requests at once")
    }
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
