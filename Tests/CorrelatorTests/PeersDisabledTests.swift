import Evidence
import Testing

@testable import Correlator

/// "no live upstreams" is traced to what the configuration says where no failure is behind it.
@Suite struct PeersDisabledTests {
  private func incident(_ servers: [UpstreamServer], failed: String? = nil) throws -> Incident {
    let start = Timestamp(seconds: 1_795_514_462)
    var correlator = Correlator()
    func observe(_ fact: Observation.Fact, after milliseconds: Int64) {
      correlator.observe(
        Observation(
          host: "a", time: TimeEstimate(exactly: start + .milliseconds(milliseconds)), fact: fact))
    }
    let group = UpstreamGroup(name: "pair", servers: servers)
    observe(.nginx(NginxInstance(workers: [7], upstreams: [group])), after: 0)
    func line(_ message: NginxMessage, _ upstream: UpstreamPeer?, after milliseconds: Int64) {
      observe(
        .nginxLine(
          NginxLine(
            message: message, text: "x", level: "error", stamped: start, worker: 7, connection: 1,
            upstream: upstream)), after: milliseconds)
    }
    if let failed { line(.connectFailed, UpstreamPeer(failed), after: 100) }
    line(.noLiveUpstreams, .group("pair"), after: 2000)
    _ = correlator.finish()
    return try #require(correlator.summary().incidents.last)
  }

  private func server(
    _ name: String, isDown: Bool = false, maxConnections: Int? = nil
  ) -> UpstreamServer {
    UpstreamServer(
      name: name, peers: [UpstreamPeer(name)].compactMap { $0 }, isDown: isDown,
      maxConnections: maxConnections)
  }

  @Test func `every peer at its max_conns`() throws {
    let incident = try incident([
      server("10.0.0.1:80", maxConnections: 20), server("10.0.0.2:80", isDown: true),
    ])
    #expect(incident.verdict.cause == .peersDisabled)
    let texts = incident.evidence.map(\.text)
    #expect(texts.contains { $0.hasPrefix("10.0.0.1:80 (20): may have had max_conns") })
    #expect(texts.contains("10.0.0.2:80: marked `down`, never tried"))
    #expect(incident.fix?.directive == "max_conns")
    #expect(incident.fix?.value == "40")
  }

  @Test func `a peer that failed is not said to be full`() throws {
    let incident = try incident([server("10.0.0.1:80", maxConnections: 20)], failed: "10.0.0.1:80")
    #expect(!incident.evidence.contains { $0.text.contains("max_conns") })
    #expect(incident.fix?.directive == "max_fails")
    #expect(incident.roots.count == 1)
  }
}
