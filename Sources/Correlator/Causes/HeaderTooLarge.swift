import Evidence

/// The request's header is larger than the backend takes, and it closes without a word (uWSGI's
/// buffer-size, close-signatures 9).
struct HeaderTooLarge: CauseRule {
  let id = CauseID.headerTooLarge
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    // Only uWSGI is known to close like this; HTTP servers answer 400 or 431.
    guard c.line.scheme == "uwsgi" || c.line.scheme == "suwsgi", let close = c.close,
      close.closer == .responder, (close.responseBytes ?? 0) == 0, !close.requestAfterFIN,
      let bytes = close.requestBytes, bytes > 4096
    else { return [] }
    var items = [
      EvidenceItem(
        "packets", "the request has \(bytes) bytes, more than uWSGI's default buffer-size (4096)",
        decibans: 22)
    ]
    if let age = MasterTimeout.age(c) {
      let isAtOnce = age < .milliseconds(50)
      items.append(
        EvidenceItem(
          "packets", "it was closed \(age) after the request", decibans: isAtOnce ? 15 : -15,
          time: close.closedAt))
    }
    if c.deaths.contains(where: { c.relation(to: $0.pid) == .owner }) {
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -30))
    } else if c.watchedProcesses, c.isLocal {
      items.append(EvidenceItem("processes", "no process behind the port ended", decibans: 8))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text: "raise uWSGI's buffer-size (32768 is common) above the largest header: look for "
        + "\"invalid request block size\" in its log; cookies grow for some users only",
      tradeOff: "memory per uWSGI worker")
  }
}
