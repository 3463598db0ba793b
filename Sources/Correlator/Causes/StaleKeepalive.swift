import Evidence

/// The backend closed an idle connection at the moment when nginx sent a request on it
/// (close-signatures L and M): nobody's bug, but two timers in the wrong order.
struct StaleKeepalive: CauseRule {
  let id = CauseID.staleKeepalive

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.closer != .originator || close.requestAfterFIN,
      // What the backend did not send says nothing of the backend.
      close.closer != .middlebox,
      !c.line.message.isInBody, c.isReused != false
    else { return [] }
    var items: [EvidenceItem] = []
    if close.requestAfterFIN {
      // Nothing else makes a backend close before the request that it is blamed for.
      let gap = close.requestSentAt.flatMap { sent in close.responderFIN.map { sent - $0 } }
      items.append(
        EvidenceItem(
          "packets",
          "the backend's FIN went out \(gap.map { "\($0) " } ?? "")before nginx sent the request",
          decibans: 35, time: close.responderFIN))
    } else if close.manner != .fin, close.phase == .idle {
      // Row 11: a reset on an idle connection, found when nginx reuses it; nothing was sent.
      items.append(
        EvidenceItem(
          "packets", "reset while idle, before nginx sent anything of this request",
          decibans: 25, time: close.closedAt))
    } else if close.responderReset?.manner == .passiveReset, close.responderFIN == nil {
      // Row M: the socket was gone before the request arrived, and its FIN never came.
      items.append(
        EvidenceItem(
          "packets", "a socket that no longer existed answered the request with a passive reset",
          decibans: 25, time: close.responderReset?.time))
    } else {
      return []
    }
    if close.requestDelivery == .rejected {
      items.append(
        EvidenceItem(
          "packets", "the request was answered by a passive reset: no application read it",
          decibans: 12, time: close.responderReset?.time))
    }
    if let exchanges = close.exchanges, exchanges > 1 {
      items.append(
        EvidenceItem(
          "packets",
          "the connection had served \(exchanges - 1) request\(exchanges > 2 ? "s" : "")",
          decibans: 5))
    }
    if let idle = close.idleBeforeClose {
      if let timeout = c.idleTimeout, (idle - timeout.value).magnitude < Self.slack(timeout) {
        // Closing at its own idle limit is what a keepalive timer does, and little else does.
        items.append(
          EvidenceItem(
            "packets",
            "closed after \(idle) idle, the backend's own limit (\(timeout.value), n=\(timeout.count))",
            decibans: 10, time: close.closedAt))
      } else if idle <= Habits.atOnce, close.requestAfterFIN {
        // No idle timer in use is that short: a counter or an end of the process is.
        items.append(
          EvidenceItem("packets", "closed only \(idle) after its last answer", decibans: -6))
      } else if idle > .seconds(1) {
        items.append(EvidenceItem("packets", "closed after \(idle) idle", decibans: 5))
      }
    }
    if let limit = c.requestLimit, Habits.served(close) == limit.value,
      close.idleBeforeClose.map({ $0 <= .seconds(1) }) ?? false
    {
      items.append(
        EvidenceItem(
          "packets", "it had served \(limit.value) requests, after which all are closed",
          decibans: -15
        ))
    }
    if c.closedTogether > 1, !Self.isAtLimit(c) {
      // Timers run out one by one; a process that goes takes all with it.
      items.append(
        EvidenceItem(
          "packets",
          "the backend closed \(c.closedTogether) other connections within 50 ms, not at its idle limit",
          decibans: -10))
    }
    if let asked = c.ownerAsked, let closed = close.closedAt, asked.time <= closed {
      items.append(
        EvidenceItem(
          "trace",
          "its owner had been sent \(signalName(asked.signal.signal)) \(closed - asked.time) before",
          decibans: -20, time: asked.time))
    }
    if let drained = c.ownerDrained, !Self.isAtLimit(c) {
      items.append(
        EvidenceItem(
          "processes", "its owner ended by itself soon after", decibans: -12,
          time: drained.time.best))
    }
    if c.ownerDied {
      // The close has another author than a timer.
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -45))
    }
    return items
  }

  static func isAtLimit(_ c: Case) -> Bool {
    guard let timeout = c.idleTimeout, let idle = c.close?.idleBeforeClose else { return false }
    return (idle - timeout.value).magnitude < slack(timeout)
  }

  private static func slack(_ timeout: Estimate) -> TimeSpan {
    max(timeout.spread, .milliseconds(100)) + .milliseconds(50)
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.closer == .responder, let fin = close.responderFIN,
      let sent = close.requestSentAt,
      !close.requestAfterFIN, sent < fin
    else { return nil }
    return "no stale keepalive race: the request went out \(fin - sent) before the backend's FIN"
  }

  func fix(_ c: Case) -> Fix? {
    Self.fix(
      timeout: c.idleTimeout?.value ?? c.close?.idleBeforeClose, place: c.place)
  }

  /// - Parameters:
  ///   - timeout: after which the backend closes an idle connection.
  ///   - place: where the directive goes.
  static func fix(timeout: TimeSpan?, place: String?) -> Fix {
    guard let timeout, timeout > .milliseconds(200) else {
      return Fix(
        directive: "keepalive_timeout", place: place,
        text:
          "keep idle connections for less time than the backend does; its limit was not seen yet")
    }
    return Fix(
      directive: "keepalive_timeout", value: nginxTime(shorter(than: timeout)), place: place,
      text:
        "nginx must let go of idle connections before the backend does (after \(timeout)), or the "
        + "backend's limit must be raised above nginx's",
      tradeOff: "a few more new connections; a POST that was in flight may still be lost once")
  }

  /// A value below the backend's limit: a second less, or a fifth less where that is not enough room.
  static func shorter(than timeout: TimeSpan) -> TimeSpan {
    let milliseconds = timeout.nanoseconds / 1_000_000
    return .milliseconds(
      milliseconds >= 5000 ? (milliseconds - 1000) / 1000 * 1000 : milliseconds * 4 / 5 / 100 * 100)
  }

  /// As nginx reads it: `4s`, `1600ms`.
  static func nginxTime(_ span: TimeSpan) -> String {
    let milliseconds = span.nanoseconds / 1_000_000
    return milliseconds % 1000 == 0 ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
  }
}
