import Evidence

/// What is known of sockets, processes and the kernel: who held which connection, and who died.
struct HostState {
  private(set) var watchedKernel = false
  private(set) var watchedProcesses = false
  /// What the kernel's tracepoints told.
  var witness = KernelWitness()
  /// What the backends wrote to their own logs.
  var backendLog = BackendLog()
  /// What the kernel counted.
  var network = NetworkCounts()
  /// Who came of whom.
  var lineage = Lineage()
  /// What the kernel's log said of the network: a full table, a flood, a link that went down.
  private var troubles: [(time: TimeEstimate, event: KernelEvent, name: String)] = []
  /// The UNIX socket that an inode of the backend's serves, and who was behind each.
  private var pathOfInode: [UInt64: String] = [:]
  private var unixProcesses: [String: [Int32: ProcessIdentity]] = [:]
  private var unixQueues: [(time: Timestamp, sighting: UnixSocketSighting)] = []
  private var descriptorUses: [Int32: DescriptorUse] = [:]

  /// The inode of each end of a flow.
  private var inodes: [Flow: Ends] = [:]
  private var order: [Flow] = []
  private var listeners: [UInt16: [SocketSighting]] = [:]
  /// Who holds an inode.
  private var holders: [UInt64: [ProcessIdentity]] = [:]
  private var holderOrder: [UInt64] = []
  /// Inodes of the backend's end, to the endpoint that they serve.
  private var endpointOfInode: [UInt64: Endpoint] = [:]
  /// Every process that ever held a socket of an endpoint; its end does not remove it.
  private var processes: [Endpoint: [Int32: ProcessIdentity]] = [:]
  private(set) var deaths: [Death] = []
  private var queues: [(time: Timestamp, sighting: SocketSighting)] = []

  /// Entries kept at most; the oldest go first.
  private let limit = 200_000

  private struct Ends {
    var originator: UInt64?
    var responder: UInt64?
  }

  mutating func observe(_ event: KernelEvent, at time: TimeEstimate) {
    watchedKernel = true
    switch event.kind {
    case .oomKill(let kill):
      add(Death(pid: kill.pid, command: kill.command, time: time, how: .oom(kill)))
    case .fault(let fault):
      add(Death(pid: fault.pid, command: fault.command, time: time, how: .fault(fault)))
    case .network(let name):
      troubles.append((time, event, name))
      if troubles.count > 2000 { troubles.removeFirst(1000) }
    case .other: break
    }
  }

  /// The kernel's own words about its network within some seconds of a moment.
  func troubles(_ name: String, near moment: TimeEstimate, within span: TimeSpan) -> KernelEvent? {
    troubles.last { $0.name == name && $0.time.distance(to: moment) <= span }?.event
  }

  mutating func observe(_ sighting: SocketSighting, at time: TimeEstimate) {
    watchedProcesses = true
    switch sighting.role {
    case .listener:
      listeners[sighting.local.port, default: []].removeAll { $0.inode == sighting.inode }
      listeners[sighting.local.port, default: []].append(sighting)
      if let queued = sighting.queued, let backlog = sighting.backlog, queued * 2 > backlog {
        queues.append((time.best, sighting))
        if queues.count > 1000 { queues.removeFirst(500) }
      }
      learn(sighting.inode, serves: sighting.local)
    case .responder:
      guard let remote = sighting.remote else { return }
      let flow = Flow(originator: remote, responder: sighting.local)
      keep(flow) { $0.responder = sighting.inode }
      learn(sighting.inode, serves: sighting.local)
    case .originator:
      guard let remote = sighting.remote else { return }
      keep(Flow(originator: sighting.local, responder: remote)) { $0.originator = sighting.inode }
    }
  }

  mutating func observe(_ sighting: UnixSocketSighting, at time: TimeEstimate) {
    watchedProcesses = true
    guard sighting.role != .originator else { return }
    if let queued = sighting.queued, let backlog = sighting.backlog, queued * 2 > backlog {
      unixQueues.append((time.best, sighting))
      if unixQueues.count > 1000 { unixQueues.removeFirst(500) }
    }
    if pathOfInode.count >= limit { pathOfInode = [:] }
    pathOfInode[sighting.inode] = sighting.path
    for holder in holders[sighting.inode] ?? [] {
      unixProcesses[sighting.path, default: [:]][holder.pid] = holder
    }
  }

  mutating func observe(_ use: DescriptorUse) {
    if descriptorUses.count >= limit { descriptorUses = [:] }
    descriptorUses[use.process.pid] = use
  }

  mutating func observe(_ sighting: ProcessSighting, at time: TimeEstimate) {
    watchedProcesses = true
    lineage.saw(sighting.process, at: time.best)
    for inode in sighting.inodes {
      if holders[inode] == nil { holderOrder.append(inode) }
      holders[inode, default: []].removeAll { $0.pid == sighting.process.pid }
      holders[inode, default: []].append(sighting.process)
      if let endpoint = endpointOfInode[inode] {
        remember(sighting.process, behind: endpoint)
      }
      if let path = pathOfInode[inode], (unixProcesses[path]?.count ?? 0) < 4000 {
        unixProcesses[path, default: [:]][sighting.process.pid] = sighting.process
      }
    }
    trim()
  }

  mutating func observe(_ exit: ProcessExit, at time: TimeEstimate) {
    watchedProcesses = true
    let how: Death.How =
      if let signal = exit.signal { .signal(signal) } else if let code = exit.code {
        .code(code)
      } else { .gone }
    add(Death(pid: exit.process.pid, command: exit.process.command, time: time, how: how))
  }

  /// A process was ending when its sockets were closed. It may have been found by nobody before, so
  /// that no end of it is told; the signal that ended it may be known.
  mutating func noteEnd(of process: ProcessIdentity, at time: TimeEstimate) {
    let isKnown = deaths.reversed().contains {
      $0.pid == process.pid && !$0.isKernelsWord && time.best - $0.time.best < .seconds(10)
    }
    if isKnown { return }
    let how: Death.How =
      witness.endingSignal(of: process.pid, before: time).map { .signal($0) } ?? .gone
    add(Death(pid: process.pid, command: process.command, time: time, how: how))
  }

  /// Another program in the same process: what it serves stays the same.
  mutating func observe(_ replaced: ProcessReplaced) {
    for (endpoint, known) in processes where known[replaced.new.pid] != nil {
      processes[endpoint]?[replaced.new.pid] = replaced.new
    }
  }

  /// The kernel's log is read, whether or not it says anything.
  mutating func noteWatched(source: String) {
    if source == "kernel" { watchedKernel = true }
    if source == "trace" { witness.noteWatched() }
    if source == "backend logs" { backendLog.noteWatched() }
    if source == "processes" || source == "sockets" { watchedProcesses = true }
  }

  // MARK: Questions

  /// Who holds nginx's end of a flow.
  func workers(of flow: Flow) -> [ProcessIdentity] {
    if let worker = witness.worker(of: flow) { return [worker] }
    return inodes[flow]?.originator.flatMap { holders[$0] } ?? []
  }

  /// Who held the backend's end of a connection; who closed it comes last.
  func owners(of connection: Connection) -> [ProcessIdentity] {
    var owners = inodes[connection.flow]?.responder.flatMap { holders[$0] } ?? []
    if let closer = witness.closer(of: connection)?.process {
      // The sampled identity says more when the process was gone before it was read.
      let known = owners.first { $0.pid == closer.pid }
      owners.removeAll { $0.pid == closer.pid }
      owners.append(known ?? closer)
    }
    return owners
  }

  /// Every process known behind an endpoint, by pid.
  func backends(of endpoint: Endpoint) -> [ProcessIdentity] {
    var all = processes[endpoint] ?? [:]
    for wildcard in [IPAddress(v4: 0), IPAddress(high: 0, low: 0)] {
      let any = Endpoint(address: wildcard, port: endpoint.port)
      all.merge(processes[any] ?? [:]) { own, _ in own }
    }
    return all.values.sorted { $0.pid < $1.pid }
  }

  /// Every process known behind a UNIX socket, by pid.
  func backends(ofPath path: String) -> [ProcessIdentity] {
    (unixProcesses[path] ?? [:]).values.sorted { $0.pid < $1.pid }
  }

  func fullQueue(ofPath path: String, near moment: Timestamp) -> UnixSocketSighting? {
    unixQueues.last {
      $0.sighting.path == path && ($0.time - moment).magnitude < .seconds(10)
    }?.sighting
  }

  /// How many descriptors a process held when it was last told.
  func descriptors(of pid: Int32) -> DescriptorUse? { descriptorUses[pid] }

  /// Deaths that may explain a close at that moment.
  ///
  /// The kernel closes the sockets of a process before it tells that the process has ended, so an
  /// end that came before the close, or before the connection began, is somebody else's. What the
  /// kernel's log says comes sooner: the core is written first, and until then the process is there.
  /// - Parameters:
  ///   - owners: who held the connection; that one of them died is never a coincidence, and a large
  ///     process takes its time.
  ///   - start: when the connection began; nil when that was not seen.
  func deaths(
    near moment: TimeEstimate, owners: [ProcessIdentity], start: Timestamp?
  ) -> [Death] {
    let held = Set(owners.map(\.pid))
    let near = deaths.filter {
      // A worker that is done closes its connections before it ends.
      let after: TimeSpan = $0.isOrderly && held.contains($0.pid) ? .seconds(5) : .milliseconds(100)
      return $0.time.earliest - after <= moment.latest
        && moment.earliest <= $0.time.latest + Self.dying
    }
    return near.filter { death in
      if owners.contains(where: { $0.pid == death.pid }) { return true }
      var end = death.time.latest
      if death.isKernelsWord {
        guard let exit = near.last(where: { $0.pid == death.pid && !$0.isKernelsWord })
        else { return true }
        end = exit.time.latest
      }
      return moment.earliest <= end + .milliseconds(200) && start.map { $0 <= end } ?? true
    }
  }

  /// What is known of the pool of a process that died.
  func recycling(of death: Death) -> Recycling {
    let parent = lineage.parent(of: death.pid)
    return Recycling(
      earlier: lineage.earlierRecycles(before: death.time.best, of: death.pid),
      successor: lineage.successor(of: death.pid, endedAt: death.time.best),
      parentLives: parent.map { parent in !deaths.contains { $0.pid == parent } },
      served: lineage.requestsServed(by: death.pid))
  }

  /// From the kernel's word to the end of the process.
  private static let dying = TimeSpan.seconds(3)

  /// The last death of a process behind an endpoint before a moment.
  func lastDeath(behind endpoint: Endpoint, before moment: Timestamp) -> Death? {
    let pids = Set(backends(of: endpoint).map(\.pid))
    return deaths.last { pids.contains($0.pid) && $0.time.earliest <= moment }
  }

  func fullQueue(of endpoint: Endpoint, near moment: Timestamp) -> SocketSighting? {
    queues.last {
      $0.sighting.local.port == endpoint.port
        && ($0.sighting.local.address == endpoint.address
          || $0.sighting.local.address.isUnspecified)
        && ($0.time - moment).magnitude < .seconds(10)
    }?.sighting
  }

  // MARK: Bounds

  private mutating func add(_ death: Death) {
    deaths.append(death)
    if !death.isKernelsWord {
      lineage.ended(death.pid, at: death.time.best, isOrderly: death.isOrderly)
    }
    if deaths.count > 10_000 { deaths.removeFirst(5000) }
  }

  private mutating func learn(_ inode: UInt64, serves endpoint: Endpoint) {
    endpointOfInode[inode] = endpoint
    for holder in holders[inode] ?? [] { remember(holder, behind: endpoint) }
  }

  /// A pool that recycles its workers has many; the oldest are forgotten first.
  private mutating func remember(_ process: ProcessIdentity, behind endpoint: Endpoint) {
    processes[endpoint, default: [:]][process.pid] = process
    guard let known = processes[endpoint], known.count > 4000 else { return }
    for old in known.values.sorted(by: { ($0.startTicks ?? 0) < ($1.startTicks ?? 0) }).prefix(2000)
    {
      processes[endpoint]?[old.pid] = nil
    }
  }

  private mutating func keep(_ flow: Flow, _ change: (inout Ends) -> Void) {
    if inodes[flow] == nil { order.append(flow) }
    change(&inodes[flow, default: Ends()])
    trim()
  }

  private mutating func trim() {
    if order.count > limit {
      for flow in order.prefix(limit / 2) { inodes[flow] = nil }
      order.removeFirst(limit / 2)
    }
    if holderOrder.count > limit {
      for inode in holderOrder.prefix(limit / 2) {
        holders[inode] = nil
        endpointOfInode[inode] = nil
      }
      holderOrder.removeFirst(limit / 2)
    }
  }
}
