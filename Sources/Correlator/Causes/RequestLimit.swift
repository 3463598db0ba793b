import Evidence

/// The backend closes each connection after so many requests, and nginx sent one more
/// (close-signatures 4.2): Tomcat's maxKeepAliveRequests, Apache's MaxKeepAliveRequests, Puma's
/// max_keep_alive and their like.
struct RequestLimit: CauseRule {
  let id = CauseID.requestLimit
  // Rarer than the idle timer: most servers announce the last answer with `Connection: close`.
  let prior = -8.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.requestAfterFIN, !c.line.message.isInBody,
      let idle = close.idleBeforeClose, let served = Habits.served(close), served > 1
    else { return [] }
    let isLimit = c.requestLimit?.value == served
    guard idle <= Habits.atOnce || isLimit && idle <= .seconds(1) else { return [] }
    // As for the idle race: nothing else makes a backend close before the request it is blamed for.
    var items = [
      EvidenceItem(
        "packets", "the backend's FIN went out before nginx sent the request", decibans: 35,
        time: close.responderFIN)
    ]
    if close.requestDelivery == .rejected {
      items.append(
        EvidenceItem(
          "packets", "the request was answered by a passive reset: no application read it",
          decibans: 12, time: close.responderReset?.time))
    }
    // No idle timer in use is that short; a deploy may fall there by chance.
    items.append(
      EvidenceItem(
        "packets", "it closed \(idle) after answer \(served)",
        decibans: isLimit ? 6 : 0, time: close.closedAt))
    if let limit = c.requestLimit {
      // Closing again and again at one number is what a counter does, and nothing else.
      items.append(
        limit.value == served
          ? EvidenceItem(
            "packets",
            "it closes connections after \(limit.value) requests (\(limit.count) of \(limit.of) "
              + "closes right after an answer)", decibans: 18)
          : EvidenceItem(
            "packets", "its other connections end after \(limit.value) requests", decibans: -15))
    } else if [50, 99, 100, 128, 200, 250, 256, 500, 999, 1000, 1024, 10000].contains(served) {
      // The usual defaults (close-signatures 5).
      items.append(EvidenceItem("packets", "\(served) is a usual limit", decibans: 8))
    }
    if c.closedTogether > 0, !isLimit {
      items.append(
        EvidenceItem(
          "packets", "\(c.closedTogether) others were closed with it: a counter closes one by one",
          decibans: -15))
    }
    if c.ownerDied {
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -45))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.requestAfterFIN, let idle = close.idleBeforeClose,
      idle > .seconds(1)
    else { return nil }
    return "no request limit: it was closed \(idle) after its last answer"
  }

  func fix(_ c: Case) -> Fix? {
    Self.fix(
      limit: c.requestLimit?.value ?? c.close.flatMap(Habits.served),
      running: c.group?.keepaliveRequests, place: c.place)
  }

  static func fix(limit: Int?, running: Int?, place: String?) -> Fix {
    let now = running.map { "; nginx's own is \($0)" } ?? ""
    guard let limit, limit > 1 else {
      return Fix(
        directive: "keepalive_requests", place: place,
        text: "let nginx end a connection before the backend's own limit does\(now)")
    }
    return Fix(
      directive: "keepalive_requests", value: "\(limit - 1)", place: place,
      text:
        "the backend closes a connection after \(limit) requests\(now): nginx must end it first, or "
        + "the backend's limit must go (Tomcat maxKeepAliveRequests=-1, Apache "
        + "MaxKeepAliveRequests 0)",
      tradeOff:
        "one new connection each \(limit - 1) requests; a POST in flight may still be lost once "
        + "where something else counts on the connection too")
  }
}
