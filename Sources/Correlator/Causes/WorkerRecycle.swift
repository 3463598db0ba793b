import Evidence

/// The pool replaced the worker, by its own rules, while it had this connection (close-signatures
/// 4.3): gunicorn's max_requests, uWSGI's max-requests, max-worker-lifetime and reload-on-rss,
/// php-fpm's pm.max_requests.
struct WorkerRecycle: CauseRule {
  let id = CauseID.workerRecycle
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    let voices = c.weighVoice([.workerRecycle]) + racing(c)
    let deaths = c.weighDeaths(source: "processes", watched: false, missing: "", words: words)
    var items = voices
    let death: Death
    if let drained = c.ownerDrained {
      death = drained
      items += closing(c, drained)
    } else if !deaths.isEmpty, let found = c.likeliestDeath(words)?.death {
      death = found
      items += deaths
    } else {
      return voices
    }
    let pool = c.recycling[death.pid]
    if pool?.parentLives == true {
      items.append(EvidenceItem("processes", "its master is still running", decibans: 4))
    } else {
      // Nobody is there who would replace it, as far as was seen.
      items.append(EvidenceItem("processes", "no master of it was seen to go on", decibans: -12))
    }
    if let next = pool?.successor {
      items.append(
        EvidenceItem("processes", "\(processName(next)) took its place", decibans: 6))
    }
    if let earlier = pool?.earlier, earlier > 0 {
      // Workers that end again and again, each alone, are ended by a rule.
      items.append(
        EvidenceItem(
          "processes",
          "\(earlier) worker\(earlier > 1 ? "s" : "") of the same master had ended like it before",
          decibans: min(12, Double(4 + 2 * earlier))))
    }
    if let served = pool?.served, served > 0 {
      items.append(
        EvidenceItem("packets", "it had answered \(served) requests here", decibans: 0))
    }
    if c.endedAround >= 2 {
      items.append(
        EvidenceItem(
          "processes",
          "\(c.endedAround) processes behind the port ended together: that is "
            + "a restart",
          decibans: -15))
    }
    if let signal = death.signal, !signal.isFromParent, signal.sender?.pid != death.pid {
      items.append(
        EvidenceItem("trace", "the signal came from elsewhere than its master", decibans: -30))
    }
    if let age = MasterTimeout.age(c), case .signal = death.how, age >= .seconds(5) {
      // A recycle hits a request of any age; most are young.
      items.append(
        EvidenceItem("packets", "the request had run for \(age)", decibans: -8))
    }
    return items
  }

  /// It closed what it held, and then ended by itself.
  private func closing(_ c: Case, _ death: Death) -> [EvidenceItem] {
    let gap = c.closer.map { " \(death.time.best - $0.time) after it had closed" } ?? ""
    var items = [
      EvidenceItem(
        "processes",
        "pid \(death.pid) (\(death.command)) exited with code 0\(gap), and nobody had asked it to",
        decibans: 42, time: death.time.best)
    ]
    if let close = c.close, close.requestAfterFIN, !StaleKeepalive.isAtLimit(c) {
      items.append(
        EvidenceItem(
          "packets", "the backend's FIN went out before nginx sent the request", decibans: 25,
          time: close.responderFIN))
    }
    return items
  }

  /// The race for an idle connection of a worker that is being recycled: its log says so, and the
  /// worker ended then.
  private func racing(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.requestAfterFIN,
      let word = c.voice([.workerRecycle]), word.decibans >= 18
    else { return [] }
    return [
      word,
      EvidenceItem(
        "packets", "the backend's FIN went out before nginx sent the request", decibans: 25,
        time: close.responderFIN),
    ]
  }

  private func words(_ death: Death) -> String? {
    let name = "pid \(death.pid) (\(death.command))"
    return switch death.how {
    case .code(0): "\(name) exited with code 0\(death.author)"
    case .signal(let signal) where [1, 2, 3, 15].contains(signal):
      "\(name) was ended by \(signalName(signal))\(death.author)"
    default: nil
    }
  }

  func fix(_ c: Case) -> Fix? {
    let served = c.likeliestDeath(words).flatMap { c.recycling[$0.death.pid]?.served }
    let after = served.map { " (after about \($0) requests here)" } ?? ""
    let command = c.likeliestDeath(words)?.death.command ?? ""
    let knob =
      if command.hasPrefix("gunicorn") {
        "gunicorn --max-requests 0, or --max-requests-jitter so that workers do not go together"
      } else if command.hasPrefix("uwsgi") {
        "uWSGI max-requests, max-worker-lifetime, reload-on-rss; worker-reload-mercy for what runs"
      } else if command.hasPrefix("php-fpm") {
        "php-fpm pm.max_requests = 0, or larger"
      } else {
        "gunicorn --max-requests, uWSGI max-requests, php-fpm pm.max_requests"
      }
    return Fix(
      text: "the pool recycles its workers\(after) and drops what they hold: \(knob)",
      tradeOff: "without a recycle a leak grows until something else ends the worker")
  }
}
