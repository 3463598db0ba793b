public import Evidence

/// Turns observations into incidents: an incremental state machine that reads no clock, no file and
/// no host, so that a live session and its replay say the same.
///
/// Feed it with `observe(_:)` in about the order of time, tell it with `advance(to:)` up to when all
/// observations are in, and it gives the incidents that stand by then. Its state is bounded: closes
/// are forgotten after a minute, incidents are kept up to a limit and counted beyond it.
public struct Correlator: Sendable {
  /// How long after an error other observations are waited for, before the first verdict.
  public static let settling = TimeSpan.milliseconds(600)
  /// How long after its first verdict an incident may be revised.
  static let revising = TimeSpan.seconds(10)
  static let incidentLimit = 20_000

  var host = HostState()
  var closes: [Endpoint: CloseStore] = [:]
  var tallies: [Endpoint: UpstreamTally] = [:]
  private var instances: [NginxInstance] = []
  private var groupOf: [UpstreamPeer: UpstreamGroup] = [:]
  private var ownProbes: [Endpoint: Timestamp] = [:]
  private var fresh: [UInt64: Connection] = [:]
  private var counters: [String: Counters] = [:]
  private var blindSpots: [BlindSpot] = []
  private var pending: [OpenError] = []
  private var standing: [Standing] = []
  private var failures: [PeerFailure] = []
  private var findings = FindingTally()
  private var books = Books()
  private var incidents: [Incident] = []
  private var nextID = 1
  private var started: Timestamp?
  private var ended: Timestamp?
  private var watchedPackets = false
  private var somethingNew = false

  /// An error that waits for its verdict.
  struct OpenError {
    var id: Int
    var line: NginxLine
    var time: TimeEstimate
  }

  /// A verdict that may still be revised.
  struct Standing {
    var error: OpenError
    var incident: Incident
  }

  public init() {}

  // MARK: In

  public mutating func observe(_ observation: Observation) {
    let time = observation.time
    started = min(started ?? time.best, time.best)
    ended = max(ended ?? time.best, time.best)
    switch observation.fact {
    case .connection(let connection): observe(connection)
    case .nginxLine(let line): observe(line, at: time)
    case .nginx(let instance): observe(instance)
    case .kernel(let event):
      host.observe(event, at: time)
      somethingNew = true
    case .socket(let sighting): host.observe(sighting, at: time)
    case .process(let sighting):
      host.observe(sighting)
      somethingNew = true
    case .processExit(let exit):
      host.observe(exit, at: time)
      somethingNew = true
    case .port(let check):
      if let source = check.source { ownProbes[source] = time.best }
      withTally(check.target) { $0.count(check, at: time.best) }
    case .counters(let totals):
      counters[totals.source] = totals
      if totals.source == "packets" { watchedPackets = true }
      host.noteWatched(source: totals.source)
    case .blindSpot(let spot):
      if !blindSpots.contains(where: { $0.id == spot.id && $0.what == spot.what }),
        blindSpots.count < 200
      {
        blindSpots.append(spot)
      }
    }
  }

  private mutating func observe(_ connection: Connection) {
    watchedPackets = true
    if isOwnProbe(connection) { return }
    fresh[connection.id] = connection
    guard CloseStore.isAbnormal(connection) else { return }
    closes[connection.flow.responder, default: CloseStore()].put(connection)
    somethingNew = true
  }

  private mutating func observe(_ line: NginxLine, at time: TimeEstimate) {
    guard line.message.isUpstreamFailure else { return }
    books.errors += 1
    let error = OpenError(id: nextID, line: line, time: time)
    nextID += 1
    pending.append(error)
    if line.message.countsAsPeerFailure, let peer = line.upstream {
      failures.append(PeerFailure(incident: error.id, peer: peer, time: time, worker: line.worker))
      if failures.count > 10_000 { failures.removeFirst(5000) }
    }
  }

  private mutating func observe(_ instance: NginxInstance) {
    instances.removeAll { $0.master == instance.master }
    instances.append(instance)
    groupOf = [:]
    for group in instances.flatMap(\.upstreams) {
      for peer in group.servers.flatMap(\.peers) {
        // An explicit block says more than a bare proxy_pass to the same address.
        if let known = groupOf[peer], known.isExplicit || !group.isExplicit { continue }
        groupOf[peer] = group
      }
    }
  }

  // MARK: Out

  /// Says that all observations up to this time are in.
  /// - Returns: incidents that stand now for the first time, or whose verdict has changed.
  public mutating func advance(to watermark: Timestamp) -> [Incident] {
    settleConnections(before: watermark - .seconds(2))
    var given = reviseStanding(at: watermark)
    let due = pending.filter { $0.time.latest + Self.settling <= watermark }
    if !due.isEmpty { given += settle(Set(due.map(\.id))) }
    for endpoint in Array(closes.keys) {
      // A close that no pending error reaches any more; nginx's own stall is at most seconds.
      let horizon = min(watermark, pending.map(\.time.earliest).min() ?? watermark)
      let lonely = closes[endpoint]?.forget(before: horizon - .seconds(30)) ?? []
      countUnexplained(lonely, at: endpoint)
    }
    ownProbes = ownProbes.filter { $0.value > watermark - .seconds(120) }
    return given
  }

  /// Says that nothing more comes.
  public mutating func finish() -> [Incident] {
    let end = Timestamp(nanoseconds: .max / 2)
    return advance(to: end)
  }

  private mutating func settle(_ due: Set<Int>) -> [Incident] {
    let matches = matching(pending).solve()
    var given: [Incident] = []
    for error in pending where due.contains(error.id) {
      let match = matches[error.id] ?? .none
      if let close = match.close {
        closes[close.flow.responder]?.claim(close.id, for: error.id)
      }
      let (incident, facts) = incident(for: error, match: match, revision: 1)
      findings.add(incident, facts)
      count(incident, by: 1)
      standing.append(Standing(error: error, incident: incident))
      if incidents.count < Self.incidentLimit {
        incidents.append(incident)
      } else {
        books.incidentsDropped += 1
      }
      given.append(incident)
    }
    pending.removeAll { due.contains($0.id) }
    return given
  }

  private func matching(_ errors: [OpenError]) -> Matching {
    Matching(pending: errors, closes: closes, workers: host.workers, isForeign: isOwnProbe)
  }

  /// Whether a connection is the port prober's. Ports are reused, so its time must fit too; it may be
  /// seen before the prober says that it made it.
  private func isOwnProbe(_ connection: Connection) -> Bool {
    guard let probed = ownProbes[connection.flow.originator] else { return false }
    return (connection.firstPacket - probed).magnitude < .seconds(2)
  }

  /// Looks again at fresh incidents when something came that may bear on them.
  private mutating func reviseStanding(at watermark: Timestamp) -> [Incident] {
    defer {
      standing.removeAll { $0.error.time.latest + Self.settling + Self.revising < watermark }
    }
    guard somethingNew else { return [] }
    somethingNew = false
    var given: [Incident] = []
    for index in standing.indices {
      let old = standing[index].incident
      let error = standing[index].error
      var match: Matching.Match
      if let close = old.close,
        let connection = closes[close.flow.responder]?[close.connection]?.connection
      {
        match = Matching.Match(
          close: connection, confidence: old.match.confidence, candidates: old.match.candidates)
      } else if old.close == nil {
        match =
          matching([error]).solve()[error.id] ?? .none
        if let close = match.close {
          closes[close.flow.responder]?.claim(close.id, for: error.id)
        }
      } else {
        continue
      }
      let (new, facts) = incident(for: error, match: match, revision: old.revision + 1)
      guard differs(old, new) else { continue }
      findings.remove(old)
      findings.add(new, facts)
      count(old, by: -1)
      count(new, by: 1)
      standing[index].incident = new
      if let position = incidents.lastIndex(where: { $0.id == new.id }) {
        incidents[position] = new
      }
      given.append(new)
    }
    return given
  }

  private func differs(_ a: Incident, _ b: Incident) -> Bool {
    a.verdict.cause != b.verdict.cause || a.close != b.close
      || abs(a.verdict.probability - b.verdict.probability) >= 0.05
  }

  // MARK: One incident

  private func incident(
    for error: OpenError, match: Matching.Match, revision: Int
  ) -> (Incident, Case) {
    let facts = facts(of: error, close: match.close)
    let judgement = Judge.judge(facts)
    let line = error.line
    var message = line.text
    if let errno = line.errno { message += " (errno \(errno))" }
    if let action = line.action { message += " while \(action)" }
    let close = match.close.map { connection in
      Incident.Close(
        flow: connection.flow, closer: connection.closer, manner: connection.manner,
        phase: connection.phase, time: connection.closedAt, connState: connection.connState,
        history: connection.history, requestDelivery: connection.requestDelivery,
        idleBeforeClose: connection.idleBeforeClose, exchanges: connection.exchanges,
        owner: facts.owners.last, connection: connection.id)
    }
    let incident = Incident(
      id: error.id, revision: revision, time: error.time, message: message, kind: line.message,
      worker: line.worker, nginxConnection: line.connection,
      upstream: line.upstream.map(String.init), request: line.request, clientStatus: nil,
      retried: nil, close: close,
      match: Incident.Match(
        confidence: (match.confidence * 1000).rounded() / 1000, candidates: match.candidates,
        unmatchedBecause: match.close == nil ? unmatchedReason(line) : nil),
      verdict: judgement.verdict, evidence: judgement.evidence, ruledOut: judgement.ruledOut,
      fix: judgement.fix,
      roots: line.message == .noLiveUpstreams ? facts.disabling.map(\.incident) : [])
    return (incident, facts)
  }

  private func unmatchedReason(_ line: NginxLine) -> String {
    if case .unix = line.upstream { return "UNIX socket: it sends no packets" }
    switch line.message {
    case .noLiveUpstreams, .nameResolutionFailed, .noPort, .bindFailed, .socketFailed,
      .workerConnectionsExhausted, .connectRefusedAtOnce:
      return "nothing was sent"
    default: break
    }
    if !watchedPackets { return "packets were not watched" }
    if line.upstream?.endpoint == nil { return "the line names no address" }
    return "no close on this upstream fits"
  }

  private func facts(of error: OpenError, close: Connection?) -> Case {
    let line = error.line
    var c = Case(line: line, time: error.time, close: close)
    c.group = group(of: line)
    c.version = instances.compactMap(\.version).first
    c.watchedKernel = host.watchedKernel
    c.watchedProcesses = host.watchedProcesses
    c.watchedPackets = watchedPackets
    c.deaths = host.deaths(near: c.moment)
    if let endpoint = line.upstream?.endpoint {
      c.backends = host.backends(of: endpoint)
      c.checks = tallies[endpoint]?.checks(around: error.time) ?? PortChecks()
      c.idleTimeout = tallies[endpoint]?.idleTimeout
      c.fullQueue = host.fullQueue(of: endpoint, near: error.time.best)
      if line.errno == 111, let death = host.lastDeath(behind: endpoint, before: error.time.latest)
      {
        c.deaths = [death]
      }
    }
    if let close { c.owners = host.owners(of: close.flow) }
    if line.message == .noLiveUpstreams { c.disabling = disabling(error, c.group) }
    return c
  }

  private func group(of line: NginxLine) -> UpstreamGroup? {
    if case .group(let name) = line.upstream {
      return instances.flatMap(\.upstreams).first { $0.name == name }
    }
    return line.upstream.flatMap { groupOf[$0] }
  }

  /// The newest failure of each peer that still disables it: within fail_timeout, and the second
  /// that nginx's own rounding adds; in the same worker, unless the group shares a zone
  /// (nginx-1.22.1 ngx_http_upstream_round_robin.c:554).
  private func disabling(_ error: OpenError, _ group: UpstreamGroup?) -> [PeerFailure] {
    var newest: [UpstreamPeer: PeerFailure] = [:]
    let servers = group?.servers ?? []
    for failure in failures where failure.incident < error.id {
      let server = servers.first { $0.peers.contains(failure.peer) }
      if group != nil, server == nil { continue }
      if group?.hasZone != true, failure.worker != error.line.worker { continue }
      let window = (server?.failTimeout ?? .seconds(10)) + .seconds(1)
      if error.time.latest - failure.time.earliest > window + .seconds(1) { continue }
      newest[failure.peer] = failure
    }
    return newest.values.sorted { $0.incident < $1.incident }
  }

  // MARK: Books

  private mutating func count(_ incident: Incident, by one: Int) {
    if incident.close == nil {
      books.unmatched += one
      let reason = incident.match.unmatchedBecause ?? "unknown"
      books.unmatchedBecause[reason, default: 0] += one
      if books.unmatchedBecause[reason] == 0 { books.unmatchedBecause[reason] = nil }
    } else {
      books.matched += one
      if incident.match.confidence < 0.9 { books.ambiguous += one }
    }
    if let endpoint = incident.upstream.flatMap({ Endpoint($0) }) {
      withTally(endpoint) { $0.statistics.errors += one }
    }
  }

  private mutating func withTally(_ endpoint: Endpoint, _ change: (inout UpstreamTally) -> Void) {
    change(&tallies[endpoint, default: UpstreamTally(endpoint.description)])
  }

  /// Counts connections once, when no more is expected of them.
  private mutating func settleConnections(before time: Timestamp) {
    guard fresh.values.contains(where: { $0.lastPacket < time }) else { return }
    let settled = fresh.values.filter { $0.lastPacket < time }.sorted { $0.id < $1.id }
    for connection in settled {
      fresh[connection.id] = nil
      if isOwnProbe(connection) { continue }
      let endpoint = connection.flow.responder
      withTally(endpoint) { $0.count(connection) }
    }
  }

  private mutating func countUnexplained(_ connections: [Connection], at endpoint: Endpoint) {
    let abnormal = connections.filter {
      !isOwnProbe($0) && $0.closer == .responder && ($0.phase != .idle || $0.requestAfterFIN)
        && $0.manner != .refused
    }
    guard !abnormal.isEmpty else { return }
    books.unexplainedCloses += abnormal.count
    withTally(endpoint) { $0.statistics.unexplainedCloses += abnormal.count }
  }

  /// Everything so far, for a report. Call it after `finish`.
  public func summary() -> Summary {
    var upstreams: [UpstreamStatistics] = []
    for (endpoint, tally) in tallies.sorted(by: { $0.key < $1.key })
    where isUpstream(endpoint, tally) {
      var statistics = tally.statistics
      statistics.group = groupOf[.tcp(endpoint)]?.name
      statistics.idleTimeout = tally.idleTimeout
      statistics.causes = findings.causes(of: endpoint.description)
      statistics.processes = host.backends(of: endpoint).suffix(8).map {
        "pid \($0.pid) (\($0.command))"
      }
      upstreams.append(statistics)
    }
    var books = books
    books.sources = counters.values.sorted { $0.source < $1.source }
    let found = findings.findings { upstream in
      Endpoint(upstream).flatMap { tallies[$0]?.idleTimeout }
    }
    return Summary(
      started: started, ended: ended, incidents: incidents, findings: found, upstreams: upstreams,
      books: books, blindSpots: blindSpots + derivedBlindSpots(upstreams))
  }

  /// A capture may hold connections of others; an upstream is one that nginx names or we probe. When
  /// nothing says so, all count.
  private func isUpstream(_ endpoint: Endpoint, _ tally: UpstreamTally) -> Bool {
    groupOf[.tcp(endpoint)] != nil || tally.statistics.errors > 0 || tally.statistics.checks > 0
      || groupOf.isEmpty && books.errors == 0
  }

  private func derivedBlindSpots(_ upstreams: [UpstreamStatistics]) -> [BlindSpot] {
    let remote = upstreams.filter { $0.processes.isEmpty && $0.errors > 0 }
    guard host.watchedProcesses, !remote.isEmpty else { return [] }
    return [
      BlindSpot(
        id: "remote-backend",
        what: "no process on this host serves \(remote.map(\.upstream).joined(separator: ", "))",
        cost: "a kill or a crash over there looks like a close by choice",
        remedy: "read the kernel's log there: dmesg -T | grep -Ei 'killed process|segfault'")
    ]
  }
}
