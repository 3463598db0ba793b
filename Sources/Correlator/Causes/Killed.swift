import Evidence

/// Somebody ended the backend by a signal: SIGKILL, SIGTERM and the like, not by the OOM killer.
struct Killed: CauseRule {
  let id = CauseID.killed
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    var items = c.weighDeaths(
      source: "processes", watched: c.watchedProcesses, missing: "no process of it was killed",
      words: words)
    if c.owners.isEmpty || !items.isEmpty { items += voice(c) }
    let victim = c.likeliestDeath(words)?.death.pid
    let killedByOOM = c.deaths.contains { death in
      if case .oom = death.how { death.pid == victim } else { false }
    }
    if killedByOOM, !items.isEmpty {
      // The same SIGKILL, with its author known.
      items.append(
        EvidenceItem("kernel", "the signal was the OOM killer's", decibans: -50))
    }
    if !items.isEmpty, c.pool.masterEnded != nil || c.pool.masterAsked != nil {
      items.append(
        EvidenceItem("processes", "its master ended, or was told to, at that time", decibans: -8))
    }
    if let sent = c.likeliestDeath(words)?.death.signal, sent.isFromParent {
      // A master ends its workers for reasons of its own, which have causes of their own.
      items.append(EvidenceItem("trace", "its own master sent the signal", decibans: -6))
    }
    return items
  }

  /// The master's own word of a signal, where it is not one of a fault.
  private func voice(_ c: Case) -> [EvidenceItem] {
    c.weighVoice([.workerKilled]) { $0.signal.map(Self.signals.contains) ?? false }
      .map(Self.halved)
  }

  /// Where the death was seen as well, both say one thing.
  private static func halved(_ item: EvidenceItem) -> EvidenceItem {
    var item = item
    item.decibans /= 2
    return item
  }

  private func words(_ death: Death) -> String? {
    guard case .signal(let signal) = death.how, Self.signals.contains(signal) else { return nil }
    return "pid \(death.pid) (\(death.command)) was ended by \(signalName(signal))\(death.author)"
  }

  private static let signals: Set<Int32> = [1, 2, 3, 9, 13, 14, 15]

  func ruledOut(_ c: Case) -> String? {
    c.watchedProcesses && c.isLocal && c.deaths.isEmpty ? "no process behind the port ended" : nil
  }

  func fix(_ c: Case) -> Fix? {
    if let sender = c.likeliestDeath(words)?.death.signal?.sender {
      return Fix(
        text: "\(processName(sender)) sent the signal: find out why"
          + (sender.cgroup.map { " (its cgroup: \($0))" } ?? "")
          + "; drain the backend before it is ended")
    }
    return Fix(
      text: "find who sent the signal: a time-out of its own master, a deploy, or an operator "
        + "(its unit's journal: journalctl -u UNIT)")
  }
}
