import Evidence

/// The host or its network cannot be reached.
struct Unreachable: CauseRule {
  let id = CauseID.unreachable

  func weigh(_ c: Case) -> [EvidenceItem] {
    if c.line.message != .temporarilyDisabled, let errno = c.line.errno,
      [100, 101, 112, 113].contains(errno)
    {
      return [
        EvidenceItem("nginx", "the network says so (errno \(errno))", decibans: 35)
      ]
    }
    guard
      c.line.message == .connectTimedOut || c.line.message == .connectFailed && c.line.errno == 110
    else { return [] }
    var items = [EvidenceItem("nginx", "no answer to the SYN in time", decibans: 12)]
    if c.fullQueue != nil {
      items.append(
        EvidenceItem("processes", "a listener is there, with a full queue", decibans: -20))
    } else if c.checks.outcomes.contains(.unreachable) {
      items.append(EvidenceItem("ports", "our own connect found no route to it", decibans: 20))
    } else if c.checks.outcomes.contains(.timeout) {
      items.append(EvidenceItem("ports", "our own connect got no answer either", decibans: 4))
    } else if c.checks.outcomes.contains(.open) {
      items.append(EvidenceItem("ports", "our own connect was accepted", decibans: -10))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      directive: "proxy_connect_timeout", value: "2s",
      text: "check the route, the firewall and whether the host is up; fail over sooner meanwhile")
  }
}
