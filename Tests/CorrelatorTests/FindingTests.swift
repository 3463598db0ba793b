import Correlator
import Evidence
import Testing

/// What is said at the end, over all incidents.
@Suite struct FindingTests {
  @Test func `each of nginx's own limits is a finding with its own directive`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for (index, message) in [NginxMessage.headerTooBig, .headerTooBig, .headerTimedOut].enumerated()
    {
      let time = Double(index + 1) * 1000
      story.connection(Story.a, at: time) { $0.closer = .originator }
      story.error(message, .tcp(Story.a), at: time)
    }
    let summary = story.finish()
    #expect(summary.findings.map(\.errors) == [2, 1])
    #expect(
      summary.findings.map(\.fix?.directive) == ["proxy_buffer_size", "proxy_read_timeout"])
    #expect(summary.upstreams.first?.causes == ["nginx-closed-first": 3])
  }

  private func instance(_ master: Int32, _ groups: [String]) -> Observation.Fact {
    let server = UpstreamServer(name: "a", peers: [.tcp(Story.a)])
    return .nginx(
      NginxInstance(
        master: master, workers: [master + 1],
        upstreams: groups.map {
          UpstreamGroup(
            name: $0, servers: [server], keepalive: 8, keepaliveTimeout: .seconds(60),
            location: "/etc/\(master).conf:1")
        }))
  }

  @Test func `a server of two upstream blocks is mended in both, of the nginx that failed`() throws
  {
    var story = Story()
    story.observe(instance(10, ["other"]), at: 0)
    story.observe(instance(20, ["shop", "api"]), at: 0)
    story.watchAll()
    story.stale(Story.a, at: 5000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 5000, worker: 21)
    story.stale(Story.a, at: 9000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 9000, worker: 11)
    let summary = story.finish()
    #expect(
      summary.incidents.map(\.fix?.place) == [
        "upstream \"shop\" (/etc/20.conf:1), upstream \"api\" (/etc/20.conf:1)",
        "upstream \"other\" (/etc/10.conf:1)",
      ])
  }
}
