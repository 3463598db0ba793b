import Evidence

/// An nginx was reloaded: as a backend it closes its idle connections at that moment, and the next
/// request on one is lost (thread 31); in front, its old workers end what they still hold.
struct NginxReload: CauseRule {
  let id = CauseID.nginxReload
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    if let reload = c.reload, let close = c.close, close.closer == .originator,
      !c.line.message.isNginxGivingUp
    {
      return [
        EvidenceItem(
          "nginx",
          "nginx reloaded its configuration within seconds, and closed "
            + "first", decibans: 28,
          time: reload.best)
      ]
    }
    guard let backend = c.owners.last(where: Self.isNginx) ?? c.backends.last(where: Self.isNginx),
      let close = c.close, close.closer == .responder
    else { return [] }
    let ended = c.deaths.first { death in
      guard case .code(0) = death.how else { return false }
      return c.relation(to: death.pid) != .stranger && death.command.hasPrefix("nginx")
    }
    let pool = ended.flatMap { c.recycling[$0.pid] }
    guard ended != nil || c.closedTogether > 0 else { return [] }
    var items: [EvidenceItem] = []
    if close.requestAfterFIN {
      items.append(
        EvidenceItem(
          "packets", "the backend's FIN went out before nginx sent the request", decibans: 35,
          time: close.responderFIN))
    }
    items.append(
      EvidenceItem("processes", "the backend is an nginx: \(processName(backend))", decibans: 8))
    if let ended {
      let owner = c.relation(to: ended.pid) == .owner
      items.append(
        EvidenceItem(
          "processes",
          "its worker \(ended.pid) exited with code 0"
            + (owner ? "; it owned this connection" : ""),
          decibans: owner ? 40 : 20, time: ended.time.best))
      if pool?.parentLives == true {
        items.append(
          EvidenceItem("processes", "its master is still running: a reload, no stop", decibans: 8))
      }
    }
    if c.closedTogether > 0 {
      items.append(
        EvidenceItem(
          "packets", "it closed \(c.closedTogether) other connections within 50 ms", decibans: 8))
    }
    return items
  }

  private static func isNginx(_ process: ProcessIdentity) -> Bool { process.command == "nginx" }

  func fix(_ c: Case) -> Fix? {
    guard c.close?.closer == .responder else {
      return Fix(
        directive: "worker_shutdown_timeout", place: "main",
        text:
          "old workers were ended with requests in flight: give them longer than the longest request",
        tradeOff: "old workers stay that long after each reload")
    }
    return Fix(
      directive: "keepalive_min_timeout", value: "10s",
      place: "the backend's http "
        + "block",
      text:
        "nginx 1.27.4 and later keeps idle connections that long past a reload, so that the one in "
        + "front is not caught; before it, reload the backend only when it is out of the upstream",
      tradeOff: "old workers of the backend stay that much longer after a reload")
  }
}
