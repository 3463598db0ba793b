import Evidence

/// Why a process ended: five facts that look alike from afar (a worker's recycling, its master's kill,
/// a restart of the service, a crash, the OOM killer), told apart by who sent what to whom.
struct EndOfProcess {
  var exit: ProcessExit
  var time: TimeEstimate
  /// What the kernel's log says of this very process.
  var kernelWord: Death.How?
  /// The signal that it ended by or upon.
  var signal: SignalSent?
  /// What was sent to its parent shortly before.
  var toParent: SignalSent?
  /// Its parent ended within a few seconds as well.
  var parentEnded = false
  /// Its parent is a process behind the same port: a master.
  var hasMaster = false
  /// What the backends' own logs say of this process.
  var log: [BackendLine] = []

  var verdict: (kind: HostEvent.Kind, text: String) {
    let name = processName(exit.process)
    if case .oom(let kill)? = kernelWord {
      return (.oomKill, "the OOM killer killed \(name)\(Self.sizes(kill))")
    }
    if let line = log.last(where: { $0.kind == .workerTimeout }) {
      return (.masterTimeout, "\(name) \(how), its master's patience was over: \(line.text)")
    }
    if let crash = crash(name) { return crash }
    if let sent = signal { return signalled(name, sent) }
    if let number = exit.signal {
      return (.killed, "\(name) was ended by \(signalName(number)); who sent it was not seen")
    }
    return byItself(name)
  }

  /// As `was ended by SIGKILL` or `exited with code 0`.
  private var how: String {
    if let number = exit.signal { return "was ended by \(signalName(number))" }
    if let code = exit.code { return "exited with code \(code)" }
    return "ended"
  }

  private func crash(_ name: String) -> (HostEvent.Kind, String)? {
    if case .fault(let fault)? = kernelWord {
      let place = fault.image.map { " in \($0)" } ?? ""
      return (.crash, "\(name) crashed: \(fault.name)\(place)")
    }
    if let line = log.last(where: { $0.signal == 11 || $0.signal == 6 }), exit.signal == nil {
      return (.crash, "\(name) crashed, by its own log: \(line.text)")
    }
    guard let number = exit.signal, [3, 4, 5, 6, 7, 8, 11, 31].contains(number) else { return nil }
    // Somebody else may send these, too: gunicorn's master sends SIGABRT.
    if let sender = signal?.sender, sender.pid != exit.process.pid { return nil }
    let cause = number == 6 ? "it called abort()" : "a fault of its own"
    return number == 3 ? nil : (.crash, "\(name) died of \(signalName(number)): \(cause)")
  }

  private func signalled(_ name: String, _ sent: SignalSent) -> (HostEvent.Kind, String) {
    let what = signalName(sent.signal)
    guard let sender = sent.sender, sender.pid != exit.process.pid else {
      return exit.signal == nil
        ? byItself(name) : (.killed, "\(name) \(how), sent by the kernel or by itself")
    }
    let who = processName(sender)
    let act = exit.signal == sent.signal ? how : "\(how) after \(what)"
    if Self.isManager(sender) {
      return (.stopped, "\(name) \(act), sent by \(who): its service was stopped or restarted")
    }
    guard sent.isFromParent, hasMaster else {
      // It took the signal as an order, and ended in its own way.
      let isOrder = exit.signal == nil && [1, 2, 3, 15].contains(sent.signal)
      return (isOrder ? .stopped : .killed, "\(name) \(act), sent by \(who)")
    }
    if let told = toParent, let teller = told.sender {
      return (
        .stopped,
        "\(name) \(act) from its master, \(who), which \(processName(teller)) had sent "
          + signalName(told.signal)
      )
    }
    if parentEnded { return (.stopped, "\(name) \(act) from its master, \(who), which ended too") }
    if let line = log.last(where: { $0.kind == .workerRecycle }) {
      return (.recycled, "\(name) \(act) from its own master, \(who): \(line.text)")
    }
    return sent.signal == 9 || sent.signal == 6
      ? (.killedByMaster, "\(name) \(act), sent by its own master, \(who)")
      : (.recycled, "\(name) \(act) from its own master, \(who), which lives on")
  }

  private func byItself(_ name: String) -> (HostEvent.Kind, String) {
    if let line = log.last(where: { $0.kind == .workerRecycle }) {
      return (.recycled, "\(name) \(how): \(line.text)")
    }
    if parentEnded { return (.stopped, "\(name) \(how), as its master ended") }
    if exit.code == 0, hasMaster {
      return (.recycled, "\(name) \(how) and was sent no signal; its master lives on")
    }
    if let line = log.last(where: { $0.kind == .exception || $0.kind == .outOfMemory }) {
      return (.exited, "\(name) \(how) by itself: \(line.text)")
    }
    return exit.code == nil
      ? (.exited, "\(name) ended; how was not told") : (.exited, "\(name) \(how) by itself")
  }

  private static func sizes(_ kill: OOMKill) -> String {
    var text = ""
    if let resident = kill.residentBytes { text += " at \(megabytes(resident)) resident" }
    if let limit = kill.limitBytes { text += ", limit \(megabytes(limit))" }
    if let group = kill.cgroup { text += ", cgroup \(group)" }
    if kill.isMemoryCgroup == false { text += "; the whole host was out of memory" }
    return text
  }

  private static func megabytes(_ bytes: UInt64) -> String {
    let tenths = bytes * 10 / (1 << 20)
    return "\(tenths / 10).\(tenths % 10) MiB"
  }

  /// What starts and stops services and containers. The kernel keeps 15 bytes of a name.
  private static func isManager(_ process: ProcessIdentity) -> Bool {
    if process.pid == 1 { return true }
    let names: Set<String> = [
      "systemd", "runc", "crun", "youki", "containerd-shim", "conmon", "dockerd", "containerd",
      "docker-init", "tini", "dumb-init", "supervisord", "s6-supervise", "runsv", "kubelet",
      "init",
    ]
    return names.contains(process.command)
  }
}
