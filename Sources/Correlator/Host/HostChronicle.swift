public import Evidence

/// What happens on a backend's host, without nginx beside it: every process behind the watched
/// endpoints that ends, every connection that ends as none should, and what the kernel and the
/// backends' own logs say. Pure, as the correlator is: the same live and from a recording.
public struct HostChronicle: Sendable {
  /// How long after an end the other witnesses are waited for: the master tells of it a moment later.
  public static let settling = TimeSpan.milliseconds(700)

  private var host = HostState()
  private var endpoints: Set<Endpoint>
  /// All connections on these, also those that begin elsewhere.
  private var connections: [UInt64: Connection] = [:]
  private var exits: [(exit: ProcessExit, time: TimeEstimate)] = []
  private var events: [HostEvent] = []
  /// How many connections a process closed as it ended, and when the first of them.
  private var closedByEnd: [Int32: (count: Int, first: TimeEstimate)] = [:]
  /// Who was seen to act on the backend's end of a connection.
  private var servers: [Int32: Endpoint] = [:]
  /// Who listens at a port.
  private var listeners: [Endpoint: (inode: UInt64, process: ProcessIdentity)] = [:]
  private var listenerInodes: [UInt64: Endpoint] = [:]
  private var logLines: [(line: BackendLine, time: TimeEstimate)] = []
  /// Kept at most of each.
  private static let most = 10_000

  public init(endpoints: Set<Endpoint>) { self.endpoints = endpoints }

  /// Replaces the watched endpoints.
  public mutating func watch(_ endpoints: Set<Endpoint>) { self.endpoints = endpoints }

  // MARK: In

  public mutating func observe(_ observation: Observation) {
    let time = observation.time
    switch observation.fact {
    case .connection(let connection):
      guard endpoints.contains(connection.flow.responder), Self.isAbnormal(connection) else {
        return
      }
      if connections.count < Self.most { connections[connection.id] = connection }
    case .kernel(let event):
      host.observe(event, at: time)
      if case .network(let text) = event.kind {
        add(HostEvent(time: time, kind: .kernel, text: "kernel: \(text)"))
      }
    case .socket(let sighting):
      host.observe(sighting, at: time)
      if sighting.role == .listener { observe(listener: sighting, at: time) }
    case .unixSocket(let sighting): host.observe(sighting, at: time)
    case .process(let sighting):
      host.observe(sighting, at: time)
      observe(holder: sighting, at: time)
    case .processExit(let exit):
      host.observe(exit, at: time)
      if exits.count < Self.most { exits.append((exit, time)) }
    case .processReplaced(let replaced):
      host.observe(replaced)
      replace(replaced, at: time)
    case .socketAct(let act):
      host.witness.observe(act, at: time)
      if act.role != .originator {
        if servers.count >= Self.most { servers = [:] }
        servers[act.process.pid] = act.local
      }
      if act.isExiting, act.act == .close, act.role == .responder {
        if closedByEnd.count >= Self.most { closedByEnd = [:] }
        closedByEnd[act.process.pid, default: (0, time)].count += 1
      }
    case .resetSent(let reset): host.witness.observe(reset, at: time)
    case .signal(let signal): host.witness.observe(signal, at: time)
    case .backendLine(let line): observe(line, at: time)
    case .descriptors(let use) where use.isHigh:
      let text = "\(processName(use.process)) holds \(use.used) of \(use.limit) descriptors"
      add(HostEvent(time: time, kind: .descriptors, process: use.process, text: text))
    case .counters(let totals): host.noteWatched(source: totals.source)
    default: break
    }
  }

  /// What a reader would call wrong from the backend's side: an idle connection may be closed by
  /// either.
  static func isAbnormal(_ connection: Connection) -> Bool {
    if connection.requestAfterFIN || connection.manner == .refused { return true }
    if connection.phase == .idle {
      return connection.closer == .responder && connection.manner != .fin && !connection.isLight
    }
    if connection.isLight { return connection.responderReset != nil }
    return connection.closer != .none || connection.connState == .s0
  }

  private mutating func observe(listener: SocketSighting, at time: TimeEstimate) {
    if listenerInodes.count >= Self.most { listenerInodes = [:] }
    listenerInodes[listener.inode] = listener.local
    if let queued = listener.queued, let backlog = listener.backlog, queued >= backlog, queued > 0 {
      add(
        HostEvent(
          time: time, kind: .queueFull, endpoint: listener.local,
          text: "the accept queue is full: \(queued) connections wait, \(backlog) may"))
    }
  }

  private mutating func observe(holder: ProcessSighting, at time: TimeEstimate) {
    for inode in holder.inodes {
      guard let endpoint = listenerInodes[inode] else { continue }
      guard let known = listeners[endpoint] else {
        listeners[endpoint] = (inode, holder.process)
        continue
      }
      guard known.inode != inode else { continue }
      listeners[endpoint] = (inode, holder.process)
      let text =
        "\(processName(holder.process)) listens now; \(processName(known.process)) did before"
      add(
        HostEvent(
          time: time, kind: .restarted, endpoint: endpoint, process: holder.process, text: text))
    }
  }

  private mutating func replace(_ replaced: ProcessReplaced, at time: TimeEstimate) {
    let program = replaced.new.executable ?? replaced.new.command
    add(
      HostEvent(
        time: time, kind: .replaced, endpoint: endpoint(of: replaced.new), process: replaced.new,
        text: "\(processName(replaced.old)) became \(program), and keeps its sockets"))
  }

  private mutating func observe(_ line: BackendLine, at time: TimeEstimate) {
    logLines.append((line, time))
    if logLines.count > Self.most { logLines.removeFirst(Self.most / 2) }
    switch line.kind {
    case .context, .workerStarted, .started: return
    default: break
    }
    add(
      HostEvent(
        time: time, kind: .log, endpoint: line.upstream?.endpoint, process: line.owner,
        text: "\(line.program.rawValue): \(line.text)"))
  }

  private mutating func add(_ event: HostEvent) {
    if events.count < Self.most { events.append(event) }
  }

  // MARK: Out

  /// Says that all observations up to this time are in.
  /// - Returns: what is known of by then, in order.
  public mutating func advance(to watermark: Timestamp) -> [HostEvent] {
    let due = watermark - Self.settling
    var given = events
    events = []
    let settled = exits.filter { $0.time.latest <= due }
    exits.removeAll { $0.time.latest <= due }
    for (exit, time) in settled {
      if let event = event(of: exit, at: time) { given.append(event) }
    }
    for connection in connections.values.filter({ ($0.closedAt ?? $0.lastPacket) <= due }) {
      connections[connection.id] = nil
      given.append(event(of: connection))
    }
    return given.sorted { $0.time.best < $1.time.best }
  }

  /// Says that nothing more comes.
  public mutating func finish() -> [HostEvent] {
    advance(to: Timestamp(nanoseconds: .max / 2))
  }

  private func event(of connection: Connection) -> HostEvent {
    let owner = host.owners(of: connection).last
    var parts: [String] = []
    let peer = connection.flow.originator
    if let sent = connection.requestSentAt, let closed = connection.closedAt, closed > sent {
      parts.append("\(closed - sent) after the request")
    }
    if let request = connection.request { parts.append(request) }
    if let act = host.witness.closer(of: connection) {
      parts.append(
        "\(processName(act.process)) \(act.isExiting ? "was ending" : "closed it while it ran")")
    } else if let owner {
      parts.append(processName(owner))
    }
    if let reason = host.witness.reset(of: connection)?.reason { parts.append("reset: \(reason)") }
    return HostEvent(
      time: TimeEstimate(exactly: connection.closedAt ?? connection.lastPacket),
      kind: connection.manner == .refused ? .refused : .close,
      endpoint: connection.flow.responder, process: owner, connection: connection,
      text: (["from \(peer)"] + parts).joined(separator: ", "))
  }

  /// Nil for a client's end, where clients run on the same host.
  private func event(of exit: ProcessExit, at time: TimeEstimate) -> HostEvent? {
    let process = exit.process
    guard let endpoint = endpoint(of: process) ?? servers[process.pid] else { return nil }
    let deaths = host.deaths(near: time, owners: [process], start: nil)
    var end = EndOfProcess(exit: exit, time: time)
    end.kernelWord = Self.fullest(
      deaths.filter { $0.pid == process.pid && $0.isKernelsWord }.map(\.how))
    let how: Death.How = exit.signal.map { .signal($0) } ?? exit.code.map { .code($0) } ?? .gone
    end.signal =
      host.witness.signal(
        before: Death(pid: process.pid, command: process.command, time: time, how: how))?.signal
    if let parent = process.parent, parent > 1 {
      end.toParent = host.witness.orderToEnd(of: parent, before: time)
      end.parentEnded = host.deaths(near: time, owners: [], start: nil).contains {
        $0.pid == parent && $0.time.distance(to: time) <= .seconds(2)
      }
      end.hasMaster = host.backends(of: endpoint).contains { $0.pid == parent }
    }
    end.log = logLines.filter {
      $0.line.pid == process.pid && $0.time.distance(to: time) <= .seconds(5)
    }.map(\.line)
    var (kind, text) = end.verdict
    var time = time
    if let (count, first) = closedByEnd[process.pid] {
      // It was being taken apart by then: on a busy host that takes its time.
      if first.earliest > time.earliest - .seconds(10) {
        time.earliest = min(time.earliest, first.earliest)
      }
      text += "; \(count) connection\(count == 1 ? " was" : "s were") closed with it"
    }
    if let place = process.container.map({ "container \($0.prefix(12))" }) ?? process.unit {
      text += " [\(place)]"
    }
    return HostEvent(
      time: time, kind: kind, endpoint: endpoint, process: process, text: text)
  }

  /// The tracepoint names an OOM killer's victim sooner, the log with its cgroup and the limit.
  private static func fullest(_ words: [Death.How]) -> Death.How? {
    words.last { if case .oom(let kill) = $0 { kill.cgroup != nil } else { false } } ?? words.last
  }

  /// The endpoint that a process serves, or served.
  private func endpoint(of process: ProcessIdentity) -> Endpoint? {
    endpoints.sorted().first { endpoint in
      host.backends(of: endpoint).contains { $0.pid == process.pid }
    }
  }
}
