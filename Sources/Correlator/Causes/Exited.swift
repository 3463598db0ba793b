import Evidence

/// The backend's process ended by itself.
struct Exited: CauseRule {
  let id = CauseID.exited
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    func words(_ death: Death) -> String? {
      switch death.how {
      case .code(let code):
        "pid \(death.pid) (\(death.command)) exited with code \(code)\(death.author)"
      case .gone where c.endedUnasked(death):
        "pid \(death.pid) (\(death.command)) ended, and nobody sent it a signal"
      default: nil
      }
    }
    var items = c.weighDeaths(
      source: "processes", watched: c.watchedProcesses, missing: "no process of it exited",
      words: words)
    if let death = c.likeliestDeath(words)?.death, c.hasKernelsWord(on: death.pid) {
      items.append(EvidenceItem("kernel", "the kernel's log says what ended it", decibans: -50))
    }
    if let death = c.likeliestDeath(words)?.death {
      if c.pool.masterEnded != nil || c.pool.masterAsked != nil {
        items.append(
          EvidenceItem("processes", "its master ended, or was told to, at that time", decibans: -20)
        )
      } else if let signal = death.signal, Crash.isOwnFault(signal, of: death) {
        items.append(
          EvidenceItem(
            "trace", "it exited upon \(signalName(signal.signal)), a fault of its own",
            decibans: -40))
      }
    }
    if let death = c.likeliestDeath(words)?.death, case .code(0) = death.how,
      let pool = c.recycling[death.pid], pool.parentLives == true,
      pool.successor != nil || pool.earlier > 0
    {
      // A pool's worker that exits with success and is replaced follows a rule.
      items.append(
        EvidenceItem("processes", "its master replaces workers that end like this", decibans: -8))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text:
        "the worker ends while it still has a request: read its own log; if it recycles itself, "
        + "let it drain first")
  }
}

extension Case {
  /// The kernel was seen to close the connection for a process that ended, nobody sent it a signal, and
  /// nothing else is known of its end: it was found too late to be told its exit code.
  fileprivate func endedUnasked(_ death: Death) -> Bool {
    watchedTrace && death.signal == nil && closer?.process.pid == death.pid
      && !deaths.contains { other in
        if case .gone = other.how { false } else { other.pid == death.pid }
      }
  }
}
