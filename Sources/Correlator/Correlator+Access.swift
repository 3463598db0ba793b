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
  func complete(_ incident: inout Incident, _ error: OpenError, _ group: UpstreamGroup?) {
    let rules = AftermathRules(
      line: error.line, group: group, request: access.answer(to: error.line, at: error.time))
    var aftermath = Aftermath()
    aftermath.notRetriedBecause = rules.notRetriedBecause
    aftermath.disabled = rules.disabled(at: error.time, failures: error.failures)
    if let request = rules.request {
      incident.clientStatus = request.status
      incident.retried = rules.retried
      aftermath.tries = request.tries
      aftermath.isCut = request.isCut
      aftermath.duration = request.duration
    }
    incident.aftermath = aftermath == Aftermath() ? nil : aftermath
  }
}
