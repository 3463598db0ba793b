import Evidence

/// Something between nginx and the backend reset the connection: on positive marks only.
struct Middlebox: CauseRule {
  let id = CauseID.middlebox
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.closer == .middlebox else { return [] }
    return close.forgeryMarks.map {
      EvidenceItem("packets", "not the backend's reset: \($0)", decibans: 25, time: close.closedAt)
    }
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.responderReset != nil, close.forgeryMarks.isEmpty else {
      return nil
    }
    return "no mark of a forged reset"
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      directive: "keepalive_timeout", place: c.place,
      text:
        "a firewall or balancer in between resets connections: keep idle ones for less time than "
        + "it does, or use proxy_socket_keepalive on")
  }
}
