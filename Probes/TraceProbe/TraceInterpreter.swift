import Evidence

/// Turns the kernel's events, in order of time, into what processes did.
///
/// An event's thread is believed only where a process, and nothing else, makes that event: the steps
/// to FIN_WAIT1 and LAST_ACK are taken by close() and shutdown() alone. To CLOSE there are two ways: an
/// abort by the process, after which the same thread sends a reset, and a reset that came in while
/// the process held the socket; only the first is told.
struct TraceInterpreter {
  private(set) var census: ThreadCensus
  private let reasons: [Int: String]
  private let ownProcess: Int32
  private var endpoints: Set<Endpoint>
  private var ports: Set<UInt16>
  /// Sockets that sent a SYN and have no local port yet.
  private var connecting: [UInt64: ProcessIdentity] = [:]
  /// Sockets that a process set to CLOSE: an abort, if a reset follows.
  private var closing: [UInt64: (thread: Int32, time: UInt64, act: SocketAct)] = [:]
  /// Threads that have begun to end, and when: what they close now, the kernel closes for them.
  private var ending: [Int32: UInt64] = [:]
  private var signalsTold: (second: UInt64, count: Int) = (0, 0)
  private(set) var counters: [String: UInt64] = [:]

  private static let limit = 65_536
  /// Signals told in a second; beyond it only those to processes that are known.
  private static let mostSignals = 200
  private static let second: UInt64 = 1_000_000_000

  init(
    census: ThreadCensus, reasons: [Int: String], watching endpoints: Set<Endpoint>,
    ownProcess: Int32
  ) {
    self.census = census
    self.reasons = reasons
    self.endpoints = endpoints
    self.ownProcess = ownProcess
    ports = Set(endpoints.map(\.port))
  }

  mutating func watch(_ endpoints: Set<Endpoint>) {
    self.endpoints = endpoints
    ports = Set(endpoints.map(\.port))
  }

  mutating func know(_ process: ProcessIdentity) { census.know(process) }

  /// - Returns: what is to be told of it, if anything.
  mutating func interpret(_ event: TraceEvent) -> Observation.Fact? {
    switch event.kind {
    case .state(let socket, let from, let to, let local, let remote):
      return state(event, socket, from, to, local, remote).map { .socketAct($0) }
    case .resetSent(let socket, let state, let reason, let local, let remote):
      return resetSent(event, socket, state, reason, local, remote)
    case .resetReceived(let local, let remote):
      count("resets received", local, remote)
    case .retransmission(let state, let local, let remote):
      count(state == .synSent ? "SYN retransmissions" : "retransmissions", local, remote)
    case .exit(let thread, _):
      end(thread, at: event.time)
    case .exec(let pid):
      let (old, new) = census.executed(pid)
      if let old, let new { return .processReplaced(ProcessReplaced(old: old, new: new)) }
    case .newTask(let task, let isThread):
      // A pid that had ended is another's now.
      ending[task] = nil
      if isThread {
        census.threadStarted(task, by: event.thread)
      } else {
        census.processStarted(task, by: event.thread)
      }
    case .signal(let number, let code, let target, let command):
      return signal(event, number, code, target, command)
    case .outOfMemory(let pid, let command, let resident):
      let kill = OOMKill(
        pid: pid, command: command ?? census.process(of: pid).command, residentBytes: resident)
      return .kernel(KernelEvent(kind: .oomKill(kill), text: "oom:mark_victim pid=\(pid)"))
    }
    return nil
  }

  /// Acts that have waited for a reset that did not come are none; what ended long ago is forgotten.
  mutating func sweep(before time: UInt64) {
    closing = closing.filter { $0.value.time >= time }
    let longAgo = time > 10 * Self.second ? time - 10 * Self.second : 0
    for (thread, since) in ending where since < longAgo {
      ending[thread] = nil
      census.forget(thread)
    }
  }

  // MARK: Sockets

  private mutating func state(
    _ event: TraceEvent, _ socket: UInt64, _ from: TCPState, _ to: TCPState, _ local: Endpoint,
    _ remote: Endpoint
  ) -> SocketAct? {
    if to == .synSent {
      guard !event.isInterrupt, endpoints.contains(remote) else { return nil }
      let process = census.process(of: event.thread)
      if connecting.count >= Self.limit { connecting = [:] }
      connecting[socket] = process
      return nil
    }
    if from == .synSent {
      // Only now does the socket have its port. Whoever runs, the SYN was its owner's.
      guard let process = connecting.removeValue(forKey: socket), process.pid != ownProcess,
        local.port != 0, endpoints.contains(remote)
      else { return nil }
      return SocketAct(
        act: .connect, role: .originator, local: local, remote: remote, process: process)
    }
    guard !event.isInterrupt else { return nil }
    if to == .listen || from == .listen { return listener(event, to, local) }
    guard let role = role(local, remote) else { return nil }
    switch to {
    case .finWait1, .lastACK:
      return act(.close, event, role, local, remote)
    case .close:
      if let act = act(.close, event, role, local, remote) {
        closing[socket] = (event.thread, event.time, act)
      }
      return nil
    default: return nil
    }
  }

  private mutating func listener(_ event: TraceEvent, _ to: TCPState, _ local: Endpoint)
    -> SocketAct?
  {
    let isWatched =
      local.address.isUnspecified ? ports.contains(local.port) : endpoints.contains(local)
    guard isWatched else { return nil }
    return SocketAct(
      act: to == .listen ? .listen : .close, role: .listener, local: local,
      process: census.process(of: event.thread), isExiting: ending[event.thread] != nil)
  }

  private mutating func act(
    _ act: SocketAct.Act, _ event: TraceEvent, _ role: SocketSighting.Role, _ local: Endpoint,
    _ remote: Endpoint
  ) -> SocketAct? {
    let process = census.process(of: event.thread)
    guard process.pid != ownProcess else { return nil }
    return SocketAct(
      act: act, role: role, local: local, remote: remote, process: process,
      isExiting: ending[event.thread] != nil)
  }

  private mutating func resetSent(
    _ event: TraceEvent, _ socket: UInt64, _ state: TCPState?, _ reason: Int?, _ local: Endpoint,
    _ remote: Endpoint
  ) -> Observation.Fact? {
    let isNobody = remote.port == 0
    guard let role = isNobody ? listenerRole(local) : role(local, remote) else { return nil }
    counters["resets sent", default: 0] += 1
    let pending = closing.removeValue(forKey: socket)
    let author = pending.flatMap { $0.thread == event.thread && !event.isInterrupt ? $0.act : nil }
    return .resetSent(
      ResetSent(
        local: local, remote: isNobody ? nil : remote, role: role,
        reason: reason.map { reasons[$0] ?? "reason \($0)" }, state: state?.name,
        process: author?.process, isExiting: author?.isExiting ?? false))
  }

  private func listenerRole(_ local: Endpoint) -> SocketSighting.Role? {
    let isWatched =
      local.address.isUnspecified ? ports.contains(local.port) : endpoints.contains(local)
    return isWatched ? .listener : nil
  }

  private func role(_ local: Endpoint, _ remote: Endpoint) -> SocketSighting.Role? {
    if endpoints.contains(local) { return .responder }
    return endpoints.contains(remote) ? .originator : nil
  }

  private mutating func count(_ what: String, _ local: Endpoint, _ remote: Endpoint) {
    guard let role = role(local, remote) else { return }
    counters[what, default: 0] += 1
    let direction = what == "resets received" ? "from" : "to"
    let ownEnd = role == .responder
    counters["\(what) \(ownEnd ? "at" : direction) \(ownEnd ? local : remote)", default: 0] += 1
  }

  // MARK: Processes

  private mutating func end(_ thread: Int32, at time: UInt64) {
    if ending.count >= Self.limit { ending = [:] }
    ending[thread] = time
  }

  private mutating func signal(
    _ event: TraceEvent, _ number: Int32, _ code: Int32, _ target: Int32, _ command: String
  ) -> Observation.Fact? {
    let isKnown = census.isKnown(target)
    if event.time / Self.second != signalsTold.second {
      signalsTold = (event.time / Self.second, 0)
    }
    guard isKnown || signalsTold.count < Self.mostSignals else {
      counters["signals not told", default: 0] += 1
      return nil
    }
    signalsTold.count += 1
    var victim = census.process(of: target)
    if victim.command.isEmpty { victim.command = command }
    // SI_USER, SI_QUEUE and SI_TKILL are 0 and less; what the kernel sends of itself is above.
    let isProcess = !event.isInterrupt && code <= 0
    return .signal(
      SignalSent(
        signal: number, target: victim,
        sender: isProcess ? census.process(of: event.thread) : nil))
  }
}
