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
