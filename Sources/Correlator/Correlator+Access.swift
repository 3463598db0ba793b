import Evidence

/// The access log's part: whose request an error was, and what became of it.
extension Correlator {
  mutating func observe(_ request: NginxRequest, at time: TimeEstimate) {
    access.add(request, at: time)
    standing.answered(request, at: time)
  }

  mutating func observe(_ traffic: UpstreamTraffic) {
    guard let endpoint = traffic.upstream.endpoint else { return }
    withTally(endpoint) { $0.statistics.traffic = traffic }
  }

  /// Counts a failure against its peer, as nginx does.
  mutating func countFailure(_ error: inout OpenError) {
    guard error.line.message.countsAsPeerFailure, let peer = error.line.upstream else { return }
    let group = groups(of: error.line).first
    let server = group?.servers.first { $0.peers.contains(peer) }
    let worker = group?.hasZone == true ? 0 : error.line.worker
    error.failures = failureCounts.add(
      peer, worker: worker, at: error.time.best, within: server?.failTimeout ?? .seconds(10))
  }

  /// Adds to an incident what is known of its request.
  /// - Parameter groups: those that its upstream may belong to; what they do not agree on is not said.
  func complete(_ incident: inout Incident, _ error: OpenError, _ groups: [UpstreamGroup]) {
    let request = access.answer(to: error.line, at: error.time)
    let rules = (groups.isEmpty ? [nil] : groups.map { Optional($0) }).map {
      AftermathRules(line: error.line, group: $0, request: request)
    }
    var aftermath = Aftermath()
    let reasons = Set(rules.map(\.notRetriedBecause))
    aftermath.notRetriedBecause = reasons.count == 1 ? reasons.first ?? nil : nil
    let disabled = Set(rules.map { $0.disabled(at: error.time, failures: error.failures) })
    aftermath.disabled = disabled.count == 1 ? disabled.first ?? nil : nil
    if let request {
      incident.clientStatus = request.status
      incident.retried = rules.first?.retried
      aftermath.tries = request.tries
      aftermath.isCut = request.isCut
      aftermath.duration = request.duration
    }
    incident.aftermath = aftermath == Aftermath() ? nil : aftermath
  }
}
