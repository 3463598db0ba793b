public import Correlator
public import Evidence

/// What a report shows beside the verdicts: a timeline, how long connections idle, who closed how
/// often, the state of the ports. Fed with the same observations as the correlator, and bounded:
/// whatever the length of the session, a lane has a limited number of marks, and only the connections
/// of the incidents that will be drawn are kept.
public struct SessionFacts: Sendable {
  /// Upstreams that have a lane, a histogram and counts of their own; the rest share one.
  public static let upstreamLimit = 24
  /// Incidents of one cause on one upstream that are drawn in full.
  public static let detailLimit = 20

  public private(set) var errors = Lane()
  public private(set) var closes: [Endpoint: Lane] = [:]
  public private(set) var otherCloses = Lane()
  public private(set) var resets = Lane()
  public private(set) var kernel = Lane()
  public private(set) var processes = Lane()
  public private(set) var ports = Lane()
  public private(set) var reloads = Lane()
  public private(set) var idle: [Endpoint: IdleHistogram] = [:]
  public private(set) var closeCounts: [Endpoint: [CloseKind: UInt64]] = [:]
  public private(set) var portStates: [Endpoint: PortState] = [:]
  public private(set) var instances: [NginxInstance] = []
  public private(set) var hosts: [String] = []
  public private(set) var counters: [String: Counters] = [:]
  public private(set) var traffic: [UpstreamPeer: UpstreamTraffic] = [:]
  public private(set) var oomKills: UInt64 = 0
  /// Upstream errors by the peer that nginx names.
  public private(set) var errorCounts: [String: UInt64] = [:]
  public private(set) var incidents = IncidentCounts()
  public private(set) var blindSpots: Set<String> = []
  /// The connections of incidents, by the packet probe's number.
  public private(set) var connections: [UInt64: Connection] = [:]
  /// Their last packets, where they were kept.
  public private(set) var trails: [UInt64: PacketTrail] = [:]
  private var covered: (first: Timestamp, last: Timestamp)?
  private var eventSpan: (first: Timestamp, last: Timestamp)?
  private var latest = Timestamp(nanoseconds: 0)
  private var settling = SettlingConnections()
  private var recent = RecentConnections()
  private var details: [String: Set<Int>] = [:]
  private var marked: Set<Int> = []

  public init() {}

  /// Who closed, and how.
  public struct CloseKind: Hashable, Sendable {
    public var closer: Closer
    public var manner: Manner?
  }

  // MARK: In

  public mutating func observe(_ observation: Observation) {
    let time = observation.time.best
    if hosts.count < 16, !hosts.contains(observation.host) { hosts.append(observation.host) }
    switch observation.fact {
    case .connection(let connection):
      cover(connection.lastPacket)
      settling.put(connection)
      recent.put(connection)
    // A trail follows its incident.
    case .packets(let trail) where connections[trail.connection] != nil:
      trails[trail.connection] = trail
    case .ordinaryCloses(let closes): count(closes)
    case .reuseGaps(let gaps):
      withUpstream(gaps.responder) { $0.idle[gaps.responder, default: .init()].add(gaps) }
    case .kernel(let event): observe(event, at: time)
    case .processExit(let exit):
      cover(time)
      processes.add(at: time, .bad, exit.summary)
    case .processReplaced(let replaced):
      cover(time)
      processes.add(
        at: time, .notable,
        "pid \(replaced.new.pid) became \(replaced.new.command) (it was \(replaced.old.command))")
    case .signal(let signal):
      cover(time)
      processes.add(at: time, .notable, signal.summary)
    case .socketAct(let act) where act.act == .listen:
      cover(time)
      processes.add(
        at: time, .quiet, "\(act.process.command) (pid \(act.process.pid)) listens on \(act.local)")
    case .port(let check): observe(check, at: time)
    case .nginx(let instance): observe(instance, at: time)
    case .nginxLine(let line) where line.message.isUpstreamFailure:
      let upstream = line.upstream.map(String.init) ?? ""
      let isKnown = errorCounts[upstream] != nil || errorCounts.count < 256
      errorCounts[isKnown ? upstream : "other", default: 0] += 1
    case .blindSpot(let spot): if blindSpots.count < 200 { blindSpots.insert(spot.what) }
    case .counters(let totals): counters[totals.source] = totals
    case .upstreamTraffic(let totals) where traffic[totals.upstream] != nil || traffic.count < 256:
      traffic[totals.upstream] = totals
    default: break
    }
    // What is no event may carry the time at which it was read, in a replay long after all others.
    if observation.fact.isEvent { advance(to: time) }
  }

  /// Counts what nothing more is expected of by then.
  public mutating func advance(to time: Timestamp) {
    latest = max(latest, time)
    for connection in settling.settled(at: time) { settle(connection) }
    incidents.settle(at: time)
  }

  /// An incident as it stands, or stands anew.
  public mutating func observe(_ incident: Incident) {
    incidents.put(incident, at: max(latest, incident.time.latest))
    if incident.revision == 1 || !marked.contains(incident.id) {
      cover(incident.time.best)
      // Only against one that is told twice; revisions come within seconds.
      marked.insert(incident.id)
      if marked.count > 4096 { marked = marked.filter { $0 > incident.id - 2048 } }
      errors.add(
        at: incident.time.best, .bad, incident: incident.id,
        "#\(incident.id) \(incident.upstream ?? "-"): \(incident.message)")
    }
    let key = "\(incident.upstream ?? "-") \(incident.verdict.cause.rawValue)"
    guard let close = incident.close, details[key] != nil || details.count < 256,
      details[key]?.contains(incident.id) == true
        || details[key, default: []].count < Self.detailLimit,
      let connection = recent[close.connection]
    else { return }
    details[key, default: []].insert(incident.id)
    connections[close.connection] = connection
  }

  /// Nothing more comes.
  public mutating func finish() {
    for connection in settling.settled(at: nil) { settle(connection) }
    incidents.settle(at: nil)
    for id in connections.keys {
      if let known = recent[id] { connections[id] = known }
    }
  }

  private mutating func cover(_ time: Timestamp) {
    covered = (min(covered?.first ?? time, time), max(covered?.last ?? time, time))
  }

  /// The time of all but the kernel's log, or of that where there is nothing else; nil without facts.
  public var span: (first: Timestamp, last: Timestamp)? { covered ?? eventSpan }

  private mutating func withUpstream(_ endpoint: Endpoint, _ change: (inout Self) -> Void) {
    guard idle[endpoint] != nil || idle.count < Self.upstreamLimit else { return }
    change(&self)
  }

  private mutating func observe(_ event: KernelEvent, at time: Timestamp) {
    switch event.kind {
    case .oomKill:
      oomKills += 1
      kernel.add(at: time, .bad, event.text)
    case .fault: kernel.add(at: time, .bad, event.text)
    case .network: kernel.add(at: time, .notable, event.text)
    case .other: return
    }
    // The kernel's log reaches far back: what it says does not stretch the time that is shown.
    eventSpan = (min(eventSpan?.first ?? time, time), max(eventSpan?.last ?? time, time))
  }

  private mutating func observe(_ check: PortCheck, at time: Timestamp) {
    settling.note(check, at: time)
    guard portStates[check.target] != nil || portStates.count < 256 else { return }
    let before = portStates[check.target]?.last
    portStates[check.target, default: PortState()].add(check, at: time)
    cover(time)
    // An open port is told when it was not open before: a mark a second would be a solid bar.
    if check.outcome == .open {
      if let before, before != .open {
        ports.add(at: time, .quiet, "\(check.target) is open again")
      }
    } else {
      let reason = check.reason.map { ": \($0)" } ?? ""
      ports.add(at: time, .bad, "\(check.target) \(check.outcome.rawValue)\(reason)")
    }
  }

  private mutating func observe(_ instance: NginxInstance, at time: Timestamp) {
    let known = instances.first { $0.master == instance.master }
    instances.removeAll { $0.master == instance.master }
    instances.append(instance)
    if instances.count > 64 { instances.removeFirst() }
    guard let known, known != instance else { return }
    cover(time)
    let master = instance.master.map { " (master \($0))" } ?? ""
    reloads.add(
      at: time, .notable,
      known.upstreams == instance.upstreams
        ? "nginx\(master) has other workers: a reload, or one was replaced"
        : "nginx\(master) was reloaded with other upstreams")
  }
}

// MARK: Closes

extension SessionFacts {
  private mutating func count(_ closes: OrdinaryCloses) {
    let counts: [(CloseKind, Int)] = [
      (CloseKind(closer: .responder, manner: .fin), closes.byResponder),
      (CloseKind(closer: .originator, manner: .fin), closes.byOriginator),
      (CloseKind(closer: .unknown, manner: .fin), closes.inUnknownPhase),
    ]
    withUpstream(closes.responder) { facts in
      for (kind, count) in counts where count > 0 {
        facts.closeCounts[closes.responder, default: [:]][kind, default: 0] += UInt64(count)
      }
      facts.idle[closes.responder, default: .init()].untold += UInt64(max(0, closes.byResponder))
    }
  }

  /// Counts a connection, once.
  private mutating func settle(_ connection: Connection) {
    let upstream = connection.flow.responder
    guard
      let closedAt = connection.closedAt
        ?? (connection.manner == .timeout ? connection.lastPacket : nil)
    else { return }
    let kind = CloseKind(closer: connection.closer, manner: connection.manner)
    withUpstream(upstream) { facts in
      facts.closeCounts[upstream, default: [:]][kind, default: 0] += 1
      facts.idle[upstream, default: .init()].add(connection)
    }
    let weight = Self.weight(of: connection)
    let text = "\(connection.flow.originator) → \(upstream): \(connection.closeInWords)"
    if closes[upstream] != nil || closes.count < Self.upstreamLimit {
      closes[upstream, default: Lane()].add(at: closedAt, weight, text)
    } else {
      otherCloses.add(at: closedAt, weight, text)
    }
    for reset in [connection.responderReset, connection.originatorReset].compactMap(\.self) {
      resets.add(
        at: reset.time, .notable, "\(connection.flow): \(connection.words(of: reset))")
    }
  }

  /// Only a backend's close in the middle of an exchange, or of a request it had not seen, is bad.
  private static func weight(of connection: Connection) -> Lane.Weight {
    if connection.requestAfterFIN || connection.manner == .refused || connection.manner == .timeout
    {
      return .bad
    }
    switch (connection.closer, connection.phase) {
    case (.responder, .idle), (.responder, .unknown), (.originator, .idle): return .quiet
    case (.responder, _), (.middlebox, _): return .bad
    case (.originator, _): return .notable
    default: return .quiet
    }
  }
}

extension Observation.Fact {
  /// Whether it happened at its time.
  fileprivate var isEvent: Bool {
    switch self {
    case .counters, .blindSpot, .nginx, .upstreamTraffic, .packets, .kernel: false
    default: true
    }
  }
}
