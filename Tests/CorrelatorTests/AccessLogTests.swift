import Correlator
import Evidence
import Testing

@Suite struct AccessLogTests {
  private func request(status: Int, tries: [(Endpoint, Int)]) -> Observation.Fact {
    .nginxRequest(
      NginxRequest(
        status: status, worker: 100, connection: 7, request: "POST /x HTTP/1.1",
        tries: tries.map { UpstreamTry(peer: .tcp($0.0), status: $0.1) }))
  }

  @Test func `the access log's line before the verdict tells what the client got`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.closedUnanswered(Story.a, at: 1000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    story.observe(request(status: 502, tries: [(Story.a, 502)]), at: 1001)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.revision == 1)
    #expect(incident.clientStatus == 502)
    #expect(incident.retried == false)
  }

  @Test func `a line that comes later revises the incident`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.closedUnanswered(Story.a, at: 1000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    story.advance(to: 2000)
    story.observe(request(status: 200, tries: [(Story.a, 502), (Story.b, 200)]), at: 3000)
    story.advance(to: 3100)
    #expect(story.given.map(\.revision) == [1, 2])
    #expect(story.given.map(\.clientStatus) == [nil, 200])
    #expect(story.given.map(\.retried) == [nil, true])
  }
}
