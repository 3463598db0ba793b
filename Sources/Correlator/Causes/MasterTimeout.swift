import Evidence

/// The backend's own master lost patience with a request and killed the worker that had it:
/// gunicorn's --timeout (SIGABRT, then SIGKILL), uWSGI's harakiri (SIGKILL), php-fpm's
/// request_terminate_timeout (SIGTERM).
struct MasterTimeout: CauseRule {
  let id = CauseID.masterTimeout
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    let voices = c.weighVoice([.workerTimeout])
    guard let age = Self.age(c), age >= .seconds(1) else { return voices }
    var items =
      c.weighDeaths(source: "processes", watched: false, missing: "", words: words) + voices
    guard !items.isEmpty else { return [] }
    // An operator's kill hits a request of any age; most are younger than a second.
    items.append(
      EvidenceItem(
        "packets", "the request had run for \(age)", decibans: age >= .seconds(5) ? 10 : 7,
        time: c.close?.requestSentAt))
    if let sent = c.likeliestDeath(words)?.death.signal {
      // Only the master itself is impatient; anybody else's signal is a kill.
      items.append(
        sent.isFromParent
          ? EvidenceItem("trace", "its own master sent the signal", decibans: 20)
          : EvidenceItem("trace", "not its master sent the signal", decibans: -40))
    }
    if voices.allSatisfy({ $0.decibans < 28 }),
      c.pool.masterEnded != nil || c.pool.masterAsked != nil
    {
      // A master that is told to go ends its workers for that.
      items.append(
        EvidenceItem("processes", "its master was itself told to end or reload", decibans: -30))
    }
    if let limit = c.requestAge, (age - limit.value).magnitude <= max(limit.spread, .seconds(1)) {
      items.append(
        EvidenceItem(
          "packets", "requests end at this age again and again (\(limit.value), n=\(limit.count))",
          decibans: 8))
    }
    if let owner = c.owners.last, let parent = owner.parent,
      !c.deaths.contains(where: { $0.pid == parent })
    {
      items.append(
        EvidenceItem("processes", "its parent, pid \(parent), is still running", decibans: 3))
    }
    if c.deaths.contains(where: {
      if case .oom = $0.how { c.relation(to: $0.pid) != .stranger } else { false }
    }) {
      items.append(EvidenceItem("kernel", "the signal was the OOM killer's", decibans: -50))
    }
    return items
  }

  private func words(_ death: Death) -> String? {
    let name = "pid \(death.pid) (\(death.command))"
    switch death.how {
    case .signal(let signal) where [6, 9, 15].contains(signal):
      return "\(name) was ended by \(signalName(signal))\(death.author)"
    case .code(1) where death.command.hasPrefix("gunicorn"):
      // Its worker takes the master's SIGABRT as an order to exit with this code.
      return "\(name) exited with code 1, as gunicorn's worker does on its master's SIGABRT"
    default: return nil
    }
  }

  /// How old the failed request was at the close: from packets, else from the access log.
  static func age(_ c: Case) -> TimeSpan? {
    if let close = c.close {
      return close.requestSentAt.flatMap { sent in close.closedAt.map { $0 - sent } }
    }
    return c.answer?.attempt(of: c.line)?.responseTime
  }

  func fix(_ c: Case) -> Fix? {
    let age = Self.age(c).map { " (about \($0))" } ?? ""
    return Fix(
      text: "the backend's own limit for a request\(age) is shorter than this request: gunicorn "
        + "--timeout, uWSGI harakiri, php-fpm request_terminate_timeout; make the request faster or "
        + "raise the limit, and keep proxy_read_timeout above or below it on purpose",
      tradeOff: "a higher limit lets a stuck worker hold its slot longer")
  }
}
