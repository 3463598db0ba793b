import Evidence

/// The backend died of a fault: segfault, trap, abort (close-signatures E, F).
struct Crash: CauseRule {
  let id = CauseID.crash
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    c.weighDeaths(
      source: "kernel", watched: c.watchedKernel, missing: "no segfault or trap in the kernel log"
    ) { death in
      switch death.how {
      case .fault(let fault):
        return "\(fault.name) in pid \(fault.pid) (\(fault.command))"
          + (fault.image.map { ", in \($0)" } ?? "")
      case .signal(let signal) where Self.fatal.contains(signal):
        return "pid \(death.pid) (\(death.command)) died of \(signalName(signal))"
      default: return nil
      }
    }
  }

  /// SIGQUIT is left out: masters use it to end their workers.
  private static let fatal: Set<Int32> = [4, 5, 6, 7, 8, 11, 31]

  func ruledOut(_ c: Case) -> String? {
    c.watchedKernel ? "no segfault or trap in the kernel log" : nil
  }

  func fix(_ c: Case) -> Fix? {
    let death = c.nearestDeath { Self.isCrash($0) }?.death
    switch death?.how {
    case .fault(let fault):
      return Fix(
        text: "\(fault.command) crashes (\(fault.name)"
          + (fault.image.map { " in \($0)" } ?? "")
          + "): keep its core (coredumpctl, ulimit -c unlimited) and fix the program")
    case .signal(let signal):
      return Fix(
        text:
          "\(death?.command ?? "it") died of \(signalName(signal)): keep its core (coredumpctl) "
          + "and fix the program")
    default: return nil
    }
  }

  private static func isCrash(_ death: Death) -> Bool {
    switch death.how {
    case .fault: true
    case .signal(let signal): fatal.contains(signal)
    default: false
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
