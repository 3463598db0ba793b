public import Evidence

/// Turns observations into incidents: an incremental state machine that reads no clock, no file and
/// no host, so that a live session and its replay say the same.
///
/// Feed it with `observe(_:)` in about the order of time, tell it with `advance(to:)` up to when all
/// observations are in, and it gives the incidents that stand by then. The same observations with the
/// same watermarks between them give the same incidents, however often it is told the same anew. Its
/// state is bounded: closes are forgotten after half a minute, incidents are kept up to a limit and
/// counted beyond it.
public struct Correlator: Sendable {
  /// How long after an error other observations are waited for, before the first verdict.
  public static let settling = TimeSpan.milliseconds(600)
  /// How long after its first verdict an incident may be revised.
  static let revising = TimeSpan.seconds(10)
  static let incidentLimit = 10_000

  var host = HostState()
  var closes: [Endpoint: CloseStore] = [:]
  var tallies: [Endpoint: UpstreamTally] = [:]
  var instances: [NginxInstance] = []
  var groupsOf: [UpstreamPeer: [UpstreamGroup]] = [:]
  var counters: [String: Counters] = [:]
  var blindSpots: [BlindSpot] = []
  var failures = FailureLedger()
  var failureCounts = FailureCounts()
  var access = AccessBook()
  var findings = FindingTally()
  var books = Books()
  var standing = StandingIncidents()
  /// When nginx said that it reloads its configuration.
  var reloads: [TimeEstimate] = []
  var ceilings = Ceilings()
  var started: Timestamp?
  var ended: Timestamp?
  var watchedPackets = false
  var ownProbes: [Endpoint: Timestamp] = [:]
  /// Ended, and not yet counted: more may be known of them.
  var fresh: [UInt64: Connection] = [:]
  var pending: [OpenError] = []
  private var nextID = 1
  var schedule = Schedule()

  /// An error that waits for its verdict.
  struct OpenError {
    var id: Int
    var line: NginxLine
    var time: TimeEstimate
    /// For "no live upstreams": the failures behind it, as they stood when it was logged.
    var disabling: [PeerFailure] = []
    /// Failures of its peer within `fail_timeout`, this one included.
    var failures = 0
  }

  public init() {}

  // MARK: In

  public mutating func observe(_ observation: Observation) {
    let time = observation.time
    started = min(started ?? time.best, time.best)
    ended = max(ended ?? time.best, time.best)
    switch observation.fact {
    case .connection(let connection): observe(connection)
    // Drawn, not judged: it comes after the verdict.
    case .packets: break
    case .ordinaryCloses(let closes): withTally(closes.responder) { $0.count(closes) }
    case .reuseGaps(let gaps): withTally(gaps.responder) { $0.count(gaps) }
    case .responseTimes(let times):
      withTally(times.responder) { $0.latency.add(times, at: time.best) }
    case .nginxLine(let line): observe(line, at: time)
    case .nginxErrorCount(let crowd): count(crowd)
    case .nginxRequest(let request): observe(request, at: time)
    case .upstreamTraffic(let traffic): observe(traffic)
    case .nginx(let instance): observe(instance)
    case .kernel(let event):
      host.observe(event, at: time)
      standing.somebodyDied(at: time)
    case .socket(let sighting): host.observe(sighting, at: time)
    case .process(let sighting): host.observe(sighting, at: time)
    case .processExit(let exit):
      host.observe(exit, at: time)
      standing.somebodyDied(at: time)
    case .processReplaced(let replaced): host.observe(replaced)
    case .socketAct(let act):
      host.witness.observe(act, at: time)
      if act.isExiting { noteEnd(of: act.process, at: time) }
    case .resetSent(let reset):
      host.witness.observe(reset, at: time)
      if reset.isExiting, let process = reset.process { noteEnd(of: process, at: time) }
    case .signal(let signal): host.witness.observe(signal, at: time)
    case .socketDeath(let death): host.witness.observe(death, at: time)
    case .unixSocket(let sighting): host.observe(sighting, at: time)
    case .descriptors(let use):
      host.observe(use)
      ceilings.observe(use, at: time.best)
    case .backendLine(let line):
      host.backendLog.observe(line, at: time)
      // The master tells of a worker's end a moment after it.
      if line.kind != .context { standing.somebodyDied(at: time) }
    case .port(let check):
      if let source = check.source {
        ownProbes[source] = time.best
        schedule.expectSweep(ofCloseAt: time.best + .seconds(90))
      }
      withTally(check.target) { $0.count(check, at: time.best) }
    case .counters(let totals):
      counters[totals.source] = totals
      if totals.source == "packets" { watchedPackets = true }
      host.noteWatched(source: totals.source)
      ceilings.observe(totals, at: time.best)
      if totals.source == "network" { host.network.observe(totals, at: time.best) }
    case .blindSpot(let spot):
      if !blindSpots.contains(where: { $0.id == spot.id && $0.what == spot.what }),
        blindSpots.count < 200
      {
        blindSpots.append(spot)
      }
    }
  }

  /// The kernel was seen to close what a process held.
  private mutating func noteEnd(of process: ProcessIdentity, at time: TimeEstimate) {
    host.noteEnd(of: process, at: time)
    standing.somebodyDied(at: time)
  }

  private mutating func observe(_ connection: Connection) {
    watchedPackets = true
    if isOwnProbe(connection) { return }
    fresh[connection.id] = connection
    schedule.expectCount(of: connection)
    withTally(connection.flow.responder) { $0.note(connection) }
    guard CloseStore.isAbnormal(connection) else { return }
    closes[connection.flow.responder, default: CloseStore()].put(connection)
    schedule.expectSweep(ofCloseAt: connection.lastPacket)
    standing.learned(of: connection)
  }

  private mutating func observe(_ line: NginxLine, at time: TimeEstimate) {
    if line.message == .reload { noteReload(line, at: time) }
    guard line.message.isUpstreamFailure else { return }
    books.errors += 1
    var error = OpenError(id: nextID, line: line, time: time)
    nextID += 1
    if line.message == .noLiveUpstreams {
      error.disabling = failures.disabling(line, at: time, group: groups(of: line).first)
    } else if line.message.countsAsPeerFailure, let peer = line.upstream {
      failures.add(
        PeerFailure(incident: error.id, peer: peer, time: time, worker: line.worker))
    }
    countFailure(&error)
    pending.append(error)
    schedule.expectVerdict(of: error)
  }

  private mutating func noteReload(_ line: NginxLine, at time: TimeEstimate) {
    reloads.append(time)
    if reloads.count > 1000 { reloads.removeFirst(500) }
  }

  private mutating func observe(_ instance: NginxInstance) {
    instances.removeAll { $0.master == instance.master }
    instances.append(instance)
    groupsOf = Self.groups(of: instances)
  }

  /// The groups of each peer. An explicit block says more than a bare proxy_pass to the same address.
  static func groups(of instances: [NginxInstance]) -> [UpstreamPeer: [UpstreamGroup]] {
    var groups: [UpstreamPeer: [UpstreamGroup]] = [:]
    for group in instances.flatMap(\.upstreams) {
      for peer in Set(group.servers.flatMap(\.peers)) {
        let known = groups[peer] ?? []
        if known.isEmpty || group.isExplicit && known[0].isExplicit {
          groups[peer] = known + [group]
        } else if group.isExplicit {
          groups[peer] = [group]
        }
      }
    }
    return groups
  }

  /// Whether a connection is the port prober's. Ports are reused, so its time must fit too; it may be
  /// seen before the prober says that it made it.
  func isOwnProbe(_ connection: Connection) -> Bool {
    guard let probed = ownProbes[connection.flow.originator] else { return false }
    return (connection.firstPacket - probed).magnitude < .seconds(2)
  }

  mutating func withTally(_ endpoint: Endpoint, _ change: (inout UpstreamTally) -> Void) {
    change(&tallies[endpoint, default: UpstreamTally(endpoint.description)])
  }
}
