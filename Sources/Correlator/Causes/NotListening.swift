import Evidence

/// No process listens on the port (close-signatures G).
struct NotListening: CauseRule {
  let id = CauseID.notListening

  func weigh(_ c: Case) -> [EvidenceItem] {
    let refused = c.line.errno == 111 && c.line.message != .sendFailed
    let missing = c.line.errno == 2 && c.line.message == .connectRefusedAtOnce
    guard refused || missing || c.close?.manner == .refused else { return [] }
    var items: [EvidenceItem] = []
    if refused {
      items.append(
        EvidenceItem("nginx", "connect() was refused (errno 111)", decibans: 25, time: c.time.best))
    } else if missing {
      items.append(EvidenceItem("nginx", "the socket's file is not there (errno 2)", decibans: 30))
    }
    if let close = c.close, close.manner == .refused {
      items.append(
        EvidenceItem(
          "packets", "a reset answered the SYN: nothing listens on the port", decibans: 20,
          time: close.closedAt))
    }
    let outcomes = c.checks.outcomes
    if outcomes.contains(.refused) {
      items.append(
        EvidenceItem(
          "ports", "our own connect was refused too", decibans: 10,
          time: [c.checks.before, c.checks.after].first { $0?.outcome == .refused }??.time))
    } else if outcomes.count == 2 {
      items.append(
        EvidenceItem(
          "ports", "our own connects before and after were accepted: it was down for a moment",
          decibans: -3))
    }
    if let death = c.deaths.last(where: { c.relation(to: $0.pid) != .stranger }) {
      items.append(
        EvidenceItem(
          "processes", "pid \(death.pid) (\(death.command)), which served the port, had ended",
          decibans: 8, time: death.time.best))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    let outcomes = c.checks.outcomes
    return !outcomes.isEmpty && outcomes.allSatisfy { $0 == .open }
      ? "the port accepted our connects around the error" : nil
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text:
        "start the backend on \(c.line.upstream.map(String.init) ?? "that port") (or correct the "
        + "address in nginx); if this is a deploy, drain before stopping")
  }
}
