import Evidence

/// The backend died of a fault: segfault, trap, abort (close-signatures E, F).
struct Crash: CauseRule {
  let id = CauseID.crash
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    c.weighDeaths(
      source: "kernel", watched: c.watchedKernel, missing: "no segfault or trap in the kernel log",
      words: words)
      + c.weighVoice([.workerKilled]) { $0.signal.map(Self.fatal.contains) ?? false }
  }

  private func words(_ death: Death) -> String? {
    switch death.how {
    case .fault(let fault):
      "\(fault.name) in pid \(fault.pid) (\(fault.command))"
        + (fault.image.map { ", in \($0)" } ?? "")
    case .signal(let signal) where Self.fatal.contains(signal):
      "pid \(death.pid) (\(death.command)) died of \(signalName(signal))"
    case .code(let code):
      // Some programs catch the fault, say so, and exit (uWSGI).
      death.signal.flatMap { signal in
        Self.isOwnFault(signal, of: death)
          ? "pid \(death.pid) (\(death.command)) got \(signalName(signal.signal)) for a fault of its own, "
            + "and exited with code \(code)" : nil
      }
    default: nil
    }
  }

  /// The kernel, or the process itself, sent a signal of those that faults and aborts make.
  static func isOwnFault(_ signal: SignalSent, of death: Death) -> Bool {
    [4, 6, 7, 8, 11].contains(signal.signal)
      && (signal.sender == nil || signal.sender?.pid == death.pid)
  }

  /// SIGQUIT is left out: masters use it to end their workers.
  private static let fatal: Set<Int32> = [4, 5, 6, 7, 8, 11, 31]

  func ruledOut(_ c: Case) -> String? {
    c.watchedKernel ? "no segfault or trap in the kernel log" : nil
  }

  func fix(_ c: Case) -> Fix? {
    guard let death = c.likeliestDeath(words)?.death else { return nil }
    switch death.how {
    case .fault(let fault):
      return Fix(
        text: "\(fault.command) crashes (\(fault.name)"
          + (fault.image.map { " in \($0)" } ?? "")
          + "): keep its core (coredumpctl, ulimit -c unlimited) and fix the program")
    case .signal(let signal):
      return Fix(
        text: "\(death.command) died of \(signalName(signal)): keep its core (coredumpctl) and "
          + "fix the program")
    case .code:
      return Fix(
        text:
          "\(death.command) catches its own faults and exits: read its log for the trace, and fix "
          + "the program")
    default: return nil
    }
  }
}

/// A signal's name where it is one that ends processes, else its number.
func signalName(_ signal: Int32) -> String {
  switch signal {
  case 1: "SIGHUP"
  case 2: "SIGINT"
  case 3: "SIGQUIT"
  case 4: "SIGILL"
  case 5: "SIGTRAP"
  case 6: "SIGABRT"
  case 7: "SIGBUS"
  case 8: "SIGFPE"
  case 9: "SIGKILL"
  case 11: "SIGSEGV"
  case 13: "SIGPIPE"
  case 14: "SIGALRM"
  case 15: "SIGTERM"
  case 31: "SIGSYS"
  default: "signal \(signal)"
  }
}
