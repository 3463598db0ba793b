import Evidence

/// Something between nginx and the backend reset the connection: on positive marks only.
struct Middlebox: CauseRule {
  let id = CauseID.middlebox
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close else { return [] }
    if close.closer == .middlebox {
      return close.forgeryMarks.map {
        EvidenceItem(
          "packets",
          "not the backend's reset: "
            + "\($0)", decibans: 25, time: close.closedAt)
      }
    }
    return silentDrop(c, close)
  }

  /// What stood idle is forgotten by something in between, which then drops all of it in silence: the
  /// request is sent again and again, and nobody acknowledges it (failure row 28).
  private func silentDrop(_ c: Case, _ close: Connection) -> [EvidenceItem] {
    let isTimeOut =
      c.line.message == .headerTimedOut || c.line.message == .sendTimedOut
      || c.line.message == .recvFailed && c.line.errno == 110
    guard isTimeOut, close.responderFIN == nil, close.responderReset == nil,
      close.phase == .sendingRequest || close.phase == .awaitingResponse,
      close.requestDelivery != .acknowledged, close.requestDelivery != .partlyAcknowledged,
      close.history.contains("T") || close.manner == .timeout,
      c.isReused == true
    else { return [] }
    var items = [
      EvidenceItem(
        "packets",
        "the request was sent again and again on a reused connection, and never acknowledged",
        decibans: 38, time: close.requestSentAt)
    ]
    let outcomes = c.checks.outcomes
    if !outcomes.isEmpty, outcomes.allSatisfy({ $0 == .open }) {
      items.append(
        EvidenceItem(
          "ports", "new connections were accepted meanwhile: the host is there", decibans: 12))
    } else if outcomes.contains(.timeout) || outcomes.contains(.unreachable) {
      items.append(EvidenceItem("ports", "new connections failed, too", decibans: -20))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.responderReset != nil, close.forgeryMarks.isEmpty else {
      return nil
    }
    return "no mark of a forged reset"
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      directive: "keepalive_timeout",
      value: c.close?.closer == .middlebox ? c.close?.idleBeforeClose.flatMap(Self.shorter) : nil,
      place: c.place,
      text:
        "a firewall or balancer in between resets connections: keep idle ones for less time than "
        + "it does, or use proxy_socket_keepalive on",
      tradeOff: "more new connections; keepalive probes each net.ipv4.tcp_keepalive_time")
  }

  private static func shorter(than idle: TimeSpan) -> String? {
    idle > .seconds(2) ? StaleKeepalive.nginxTime(StaleKeepalive.shorter(than: idle)) : nil
  }
}
