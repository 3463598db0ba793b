import Evidence

/// The backend's accept queue is full: SYNs are dropped, or a UNIX socket answers EAGAIN.
struct AcceptQueueOverflow: CauseRule {
  let id = CauseID.acceptQueueOverflow
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    if c.line.errno == 11, c.line.message == .connectRefusedAtOnce {
      var items = [
        EvidenceItem(
          "nginx", "connect() to a UNIX socket: its queue is full (errno 11)", decibans: 40)
      ]
      if let queue = c.unixQueue, let queued = queue.queued, let backlog = queue.backlog {
        items.append(
          EvidenceItem(
            "sockets", "its listener held \(queued) of \(backlog) waiting connections", decibans: 10
          ))
      }
      return items
    }
    guard
      c.line.message == .connectTimedOut || c.line.message == .connectFailed && c.line.errno == 110
    else { return [] }
    var items = [EvidenceItem("nginx", "no answer to the SYN in time", decibans: 12)]
    if let queue = c.fullQueue, let queued = queue.queued, let backlog = queue.backlog {
      items.append(
        EvidenceItem(
          "processes", "its listener held \(queued) of \(backlog) waiting connections",
          decibans: queued >= backlog ? 25 : 10))
    }
    if c.listenOverflows > 0, c.isLocal {
      items.append(
        EvidenceItem(
          "sockets",
          // One counter for all listeners of the host: with this one's own queue it says much more.
          "the kernel dropped \(c.listenOverflows) connections in those seconds because an accept "
            + "queue was full (ListenOverflows)", decibans: c.fullQueue == nil ? 2 : 12))
    }
    if let use = c.backendDescriptors, use.used * 20 >= use.limit * 19 {
      // Without a descriptor nothing is accepted, and the queue fills.
      items.append(
        EvidenceItem(
          "processes",
          "\(processName(use.process)) holds \(use.used) of \(use.limit) descriptors: it cannot accept",
          decibans: 15))
    }
    if c.fullQueue == nil, c.isLocal, c.tracking.isWatched {
      // Its own listener is looked at.
      items.append(
        EvidenceItem("sockets", "its listener's queue was not seen to be full", decibans: -10))
    }
    if let word = c.voice([.saturated]) { items.append(word) }
    if c.checks.outcomes.contains(.timeout) {
      items.append(EvidenceItem("ports", "our own connect got no answer either", decibans: 3))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    c.close?.phase == .connecting && c.tracking.isWatched && c.isLocal && c.listenOverflows == 0
      && c.fullQueue == nil
      ? "no accept queue was full (ListenOverflows did not move)" : nil
  }

  func fix(_ c: Case) -> Fix? {
    if let use = c.backendDescriptors, use.used * 20 >= use.limit * 19 {
      return Fix(
        text: "\(processName(use.process)) has used up its \(use.limit) descriptors: raise "
          + "LimitNOFILE= in "
          + "its unit to \(use.limit * 4), or find what it does not close",
        tradeOff: "a higher limit only delays a leak")
    }
    let backlog = c.fullQueue?.backlog ?? c.unixQueue?.backlog
    let now = backlog.map { " (now \($0); \(max($0 * 4, 1024)) is cheap)" } ?? ""
    return Fix(
      directive: "proxy_connect_timeout", value: "2s",
      text:
        "raise the backend's listen backlog\(now) and net.core.somaxconn, or add workers: it accepts "
        + "too slowly; fail over sooner meanwhile",
      tradeOff: "a longer queue means longer waits, not more throughput")
  }
}
