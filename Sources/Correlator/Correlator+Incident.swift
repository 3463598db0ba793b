import Evidence

/// From an error and its close to an incident.
extension Correlator {
  func incident(
    for error: OpenError, match: Matching.Match, revision: Int
  ) -> (Incident, Case) {
    let facts = facts(of: error, close: match.close)
    let judgement = Judge.judge(facts)
    let line = error.line
    var message = line.text
    if let errno = line.errno { message += " (errno \(errno))" }
    if let action = line.action { message += " while \(action)" }
    let close = facts.close.map { connection in
      Incident.Close(
        flow: connection.flow, closer: connection.closer, manner: connection.manner,
        phase: connection.phase, time: connection.closedAt, connState: connection.connState,
        history: connection.history, requestDelivery: connection.requestDelivery,
        idleBeforeClose: connection.idleBeforeClose, exchanges: connection.exchanges,
        owner: facts.owners.last,
        requestAge: connection.requestAfterFIN
          ? nil
          : connection.requestSentAt.flatMap { sent in connection.closedAt.map { $0 - sent } },
        connection: connection.id)
    }
    var incident = Incident(
      id: error.id, revision: revision, time: error.time, message: message, kind: line.message,
      worker: line.worker, nginxConnection: line.connection,
      upstream: line.upstream.map(String.init), request: line.request,
      clientStatus: nil, retried: nil, close: close,
      match: Incident.Match(
        confidence: (match.confidence * 1000).rounded() / 1000, candidates: match.candidates,
        unmatchedBecause: match.close == nil ? unmatchedReason(line) : nil),
      verdict: judgement.verdict, evidence: judgement.evidence, ruledOut: judgement.ruledOut,
      fix: judgement.fix,
      roots: facts.disabling.map(\.incident))
    complete(&incident, error, facts.groups)
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

  private func facts(of error: OpenError, close found: Connection?) -> Case {
    let line = error.line
    let words = found.flatMap { host.witness.lastWords(of: $0) }
    let close = found.map { words.map($0.completed) ?? $0 }
    var c = Case(line: line, time: error.time, close: close)
    c.lastWords = words
    c.groups = groups(of: line)
    c.version = instances.compactMap(\.version).first
    c.watchedKernel = host.watchedKernel
    c.watchedProcesses = host.watchedProcesses
    c.watchedPackets = watchedPackets
    c.watchedTrace = host.witness.isWatching
    if let close {
      c.owners = host.owners(of: close)
      c.closer = host.witness.closer(of: close)
      c.reset = host.witness.reset(of: close)
    }
    c.deaths = host.deaths(
      near: c.moment, owners: c.owners,
      start: close.flatMap { $0.sawStart ? $0.firstPacket : nil })
    switch line.upstream {
    case .tcp(let endpoint): add(endpoint, of: error, to: &c)
    case .unix(let path):
      c.backends = host.backends(ofPath: path)
      c.pool = host.poolEnd(c.backends, owners: [], around: c.moment)
      c.unixQueue = host.fullQueue(ofPath: path, near: error.time.best)
    case .group, nil: break
    }
    for index in c.deaths.indices {
      if let (signal, time) = host.witness.signal(before: c.deaths[index]) {
        c.deaths[index].signal = signal
        c.deaths[index].signalTime = time
      }
      let death = c.deaths[index]
      c.recycling[death.pid] = host.recycling(of: death)
    }
    c.ownerAsked = c.owners.last.flatMap { host.witness.asked($0.pid, around: c.moment) }
    c.workerDescriptors = host.descriptors(of: line.worker)
    c.backendDescriptors = (c.owners + c.backends).compactMap { host.descriptors(of: $0.pid) }
      .first { $0.isHigh }
    addHost(of: error, to: &c)
    c.answer = access.answer(to: line, at: error.time)
    c.disabling = error.disabling
    c.failures = error.failures
    gatherBackendLines(&c)
    return c
  }

  /// What is known of the error's upstream.
  private func add(_ endpoint: Endpoint, of error: OpenError, to c: inout Case) {
    c.backends = host.backends(of: endpoint)
    c.pool = host.poolEnd(c.backends, owners: c.owners, around: c.moment)
    c.fullQueue = host.fullQueue(of: endpoint, near: error.time.best)
    if error.line.errno == 111,
      let death = host.lastDeath(behind: endpoint, before: error.time.latest)
    {
      c.deaths = [death]
    }
    guard let tally = tallies[endpoint] else { return }
    c.checks = tally.checks(around: error.time)
    c.idleTimeout = tally.idleTimeout
    c.requestLimit = tally.habits.requestLimit ?? tally.recentLimit(at: error.time.latest)
    c.requestAge = tally.habits.age.estimate
    c.sizeThreshold = tally.habits.sizeThreshold
    c.answered = tally.answered
    c.upstreamErrors = tally.statistics.errors
    c.closedTogether = c.close.map { tally.closedTogether(with: $0) } ?? 0
  }

  /// What the kernel counted and said in those seconds, and nginx of itself.
  private func addHost(of error: OpenError, to c: inout Case) {
    let counts = host.network
    func moved(_ name: String) -> UInt64 {
      counts.moved(name, near: error.time, within: .seconds(2))
    }
    c.listenOverflows = moved("ListenOverflows")
    c.tracking = Tracking(
      isWatched: counts.isWatched,
      dropped: moved("conntrack drop") + moved("conntrack insert_failed")
        + moved("conntrack early_drop"),
      invalid: moved("conntrack invalid"), level: counts.trackingLevel,
      isFull: host.troubles("conntrack table full", near: error.time, within: .seconds(10)))
    c.reload = reloads.last { $0.distance(to: error.time) < .seconds(3) }
  }

  private func gatherBackendLines(_ c: inout Case) {
    c.watchedBackendLog = host.backendLog.isWatching
    let processes = c.owners + c.backends
    c.backendLines = host.backendLog.lines(
      near: c.moment,
      of: BackendLog.Subject(
        upstream: c.line.upstream, client: c.close?.flow.originator,
        pids: Set(processes.map(\.pid)), units: Set(processes.compactMap(\.unit))))
  }

  /// The groups that the line may be about: those of the nginx whose worker wrote it, where that is
  /// known, else of every one.
  func groups(of line: NginxLine) -> [UpstreamGroup] {
    let own = instances.filter { $0.workers.contains(line.worker) }
    let named = own.isEmpty ? instances : own
    if case .group(let name) = line.upstream {
      return named.flatMap(\.upstreams).first { $0.name == name }.map { [$0] } ?? []
    }
    guard let peer = line.upstream else { return [] }
    if own.count == instances.count { return groupsOf[peer] ?? [] }
    return Self.groups(of: named)[peer] ?? []
  }
}
