import Evidence

/// The whole backend was restarted, stopped or deployed: its processes end together.
struct Restart: CauseRule {
  let id = CauseID.restart
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard c.isLocal else { return unseen(c) + c.weighVoice([.stopping]) }
    if !c.ownerDied, let asked = askedBefore(c) { return asked }
    guard c.endedAround >= 2 || c.pool.isWhole else { return [] }
    var items = c.weighDeaths(source: "processes", watched: false, missing: "", words: words)
    guard !items.isEmpty else { return [] }
    items += c.weighVoice([.stopping])
    if let master = c.pool.masterEnded {
      items.append(
        EvidenceItem(
          "processes", "its master, pid \(master.pid) (\(master.command)), ended too", decibans: 15,
          time: master.time.best))
    } else if let asked = c.pool.masterAsked {
      let who = asked.sender.map { " by \(processName($0))" } ?? ""
      items.append(
        EvidenceItem(
          "trace", "its master was sent \(signalName(asked.signal))\(who) before", decibans: 15))
    } else if c.pool.isWhole {
      // One worker dies alone for reasons of its own; a pool that goes together was told to.
      items.append(
        EvidenceItem(
          "processes", "all \(c.endedAround) processes behind the port ended within half a second",
          decibans: 12))
    } else {
      items.append(
        EvidenceItem(
          "processes",
          "\(c.endedAround) processes behind the port ended together, and their master went on",
          decibans: -15))
    }
    if let victim = c.likeliestDeath(words)?.death, c.hasKernelsWord(on: victim.pid) {
      // The same end, with its author known.
      items.append(EvidenceItem("kernel", "the kernel's log says what ended it", decibans: -50))
    } else if c.deaths.contains(where: { c.relation(to: $0.pid) != .stranger && Self.isFailure($0) }
    ) {
      // gunicorn's master ends all when one worker fails to start: the failure is the cause.
      items.append(EvidenceItem("processes", "one of them failed by itself", decibans: -20))
    }
    return items
  }

  private func words(_ death: Death) -> String? {
    switch death.how {
    case .signal(let signal) where [1, 2, 3, 9, 15].contains(signal):
      "pid \(death.pid) (\(death.command)) was ended by \(signalName(signal))\(death.author)"
    case .code(let code):
      "pid \(death.pid) (\(death.command)) exited with code \(code)\(death.author)"
    case .gone: "pid \(death.pid) (\(death.command)) ended\(death.author)"
    default: nil
    }
  }

  /// Workers that are told to go close their idle connections first, and end when they have nothing
  /// left to do.
  private func askedBefore(_ c: Case) -> [EvidenceItem]? {
    guard let asked = c.ownerAsked, let close = c.close, close.closer == .responder,
      let closed = close.closedAt, asked.time <= closed, let owner = c.ownerName,
      // A limit of its own explains it as well.
      c.pool.isWhole || asked.signal.signal != 1
    else { return nil }
    let who = asked.signal.isFromParent ? "its own master" : asked.signal.sender.map(processName)
    var items = [
      EvidenceItem(
        "trace",
        "\(owner) had been sent \(signalName(asked.signal.signal))"
          + (who.map { " by \($0)" } ?? "") + " \(closed - asked.time) before it closed",
        decibans: 35, time: asked.time)
    ]
    if close.requestAfterFIN {
      items.append(
        EvidenceItem(
          "packets", "the backend's FIN went out before nginx sent the request", decibans: 25,
          time: close.responderFIN))
    }
    if c.pool.isWhole {
      items.append(
        EvidenceItem("processes", "its master was itself told to end or reload", decibans: 10))
    }
    return items
  }

  /// A backend whose processes are not seen: all its connections go at once, and then nobody listens.
  private func unseen(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.closer == .responder, close.manner != .refused,
      c.closedTogether >= 2
    else { return [] }
    if let timeout = c.idleTimeout, let idle = close.idleBeforeClose,
      (idle - timeout.value).magnitude < .milliseconds(300)
    {
      // Connections that went idle together are closed together by the timer.
      return []
    }
    var items = [
      EvidenceItem(
        "packets", "the backend closed \(c.closedTogether) other connections within 50 ms",
        decibans: 28, time: close.closedAt)
    ]
    if c.checks.after?.outcome == .refused {
      items.append(
        EvidenceItem(
          "ports",
          "our next connect was "
            + "refused", decibans: 15, time: c.checks.after?.time))
    } else if c.checks.after?.outcome == .open {
      items.append(EvidenceItem("ports", "our next connect was accepted", decibans: -3))
    }
    if close.requestAfterFIN {
      items.append(
        EvidenceItem(
          "packets", "the backend's FIN went out before nginx sent the request", decibans: 25,
          time: close.responderFIN))
    }
    return items
  }

  private static func isFailure(_ death: Death) -> Bool {
    switch death.how {
    case .oom, .fault: true
    case .code(let code): code != 0
    case .signal(let signal): [4, 6, 7, 8, 11].contains(signal)
    case .gone: false
    }
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text:
        "drain before stopping: take the server out of the upstream (or stop accepting), wait for "
        + "its requests, then end it; TimeoutStopSec and the server's graceful time-out must be longer "
        + "than its requests")
  }
}
