import Evidence

/// The backend's process ended by itself.
struct Exited: CauseRule {
  let id = CauseID.exited
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    c.weighDeaths(
      source: "processes", watched: c.watchedProcesses, missing: "no process of it exited"
    ) { death in
      switch death.how {
      case .code(let code):
        "pid \(death.pid) (\(death.command)) exited with code \(code)\(death.author)"
      case .gone where c.endedUnasked(death):
        "pid \(death.pid) (\(death.command)) ended, and nobody sent it a signal"
      default: nil
      }
    }
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
