import Correlator
import Evidence
import Testing

@Suite struct MatchingTests {
  @Test func `six errors in one second on both backends, three causes: each gets its own close`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    var expected: [UInt64] = []
    for (index, backend) in [Story.a, Story.b].enumerated() {
      let base = 1000.0 + Double(index) * 7
      let first = story.closedUnanswered(backend, at: base, request: "POST /first")
      story.owner(first, pid: 11 + Int32(index))
      expected.append(first.id)
      expected.append(story.stale(backend, at: base + 3, request: "POST /second").id)
      let killed = story.closedUnanswered(backend, at: base + 5, request: "POST /third")
      story.owner(killed, pid: 21 + Int32(index))
      story.oomKill(pid: 21 + Int32(index), at: base + 4)
      expected.append(killed.id)
    }
    // nginx logs them in the order of its event loop, not of the packets.
    for (backend, base) in [(Story.a, 1000.0), (Story.b, 1007.0)] {
      for (offset, path) in [(6.0, "/third"), (6.1, "/second"), (6.2, "/first")] {
        story.error(
          .prematurelyClosed, .tcp(backend), at: base + offset, request: "POST \(path) HTTP/1.1",
          uri: path)
      }
    }
    let incidents = story.finish().incidents
    let byPath = incidents.sorted {
      ($0.upstream ?? "", $0.close?.connection ?? 0) < (
        $1.upstream ?? "", $1.close?.connection ?? 0
      )
    }
    #expect(byPath.map { $0.close?.connection } == expected)
    #expect(
      byPath.map(\.verdict.cause) == [
        .closedWithoutResponse, .staleKeepalive, .oomKill,
        .closedWithoutResponse, .staleKeepalive, .oomKill,
      ])
  }

  @Test func `two closes that fit equally well are said to be ambiguous`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.closedUnanswered(Story.a, at: 1000, request: nil)
    story.closedUnanswered(Story.a, at: 1000.2, request: nil)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1001)
    let summary = story.finish()
    let incident = try #require(summary.incidents.first)
    #expect(incident.match.candidates == 2)
    #expect(incident.match.confidence < 0.7)
    #expect(summary.books.ambiguous == 1)
  }

  @Test func `two closes and two errors are told apart by their order`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    let one = story.closedUnanswered(Story.a, at: 1000, request: nil)
    let two = story.closedUnanswered(Story.a, at: 1001, request: nil)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1002)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1002.1)
    #expect(story.finish().incidents.map { $0.close?.connection } == [one.id, two.id])
  }

  @Test func `a close of another path, another upstream or another time is not taken`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.closedUnanswered(Story.a, at: 1000, request: "POST /other")
    story.closedUnanswered(Story.b, at: 1000)
    story.closedUnanswered(Story.a, at: 9000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    let summary = story.finish()
    #expect(summary.incidents.map(\.close) == [nil])
    #expect(summary.books.unmatchedBecause == ["no close on this upstream fits": 1])
    #expect(summary.books.unexplainedCloses == 3)
  }

  @Test func `the port prober's own connection is never a candidate`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    let source = Endpoint(address: IPAddress(v4: 0x0ae7_0701), port: 40001)
    story.observe(
      .port(PortCheck(target: Story.a, outcome: .refused, reason: "refused", source: source)),
      at: 999)
    story.refused(Story.a, at: 1000)
    story.error(.connectFailed, .tcp(Story.a), at: 1000, errno: 111)
    let summary = story.finish()
    #expect(summary.incidents.map(\.close) == [nil])
    #expect(summary.incidents.map(\.verdict.cause) == [.notListening])
  }

  @Test func `a kernel record that comes late revises the verdict`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    let connection = story.closedUnanswered(Story.a, at: 1000)
    story.owner(connection, pid: 5)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    story.advance(to: 2000)
    story.oomKill(pid: 5, at: 999)
    story.advance(to: 3000)
    #expect(story.given.map(\.revision) == [1, 2])
    #expect(story.given.map(\.verdict.cause) == [.closedWithoutResponse, .oomKill])
    let summary = story.finish()
    #expect(summary.findings.map(\.cause) == [.oomKill])
    #expect(summary.books.matched == 1)
  }

  @Test func `the first verdict waits for the close, and no longer than a second`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    story.advance(to: 1500)
    #expect(story.given.isEmpty)
    story.closedUnanswered(Story.a, at: 1000)
    story.advance(to: 1900)
    #expect(story.given.map { $0.close != nil } == [true])
  }

  @Test func `a backend that closes before nginx lets go is a finding before the first error`() {
    var story = Story()
    story.nginx()
    for index in 0..<6 {
      story.idleClose(Story.a, at: Double(index) * 100 + 100, idle: .milliseconds(5000))
    }
    let summary = story.finish()
    #expect(story.given.isEmpty)
    #expect(summary.findings.map(\.cause) == [.staleKeepalive])
    #expect(summary.findings.map(\.errors) == [0])
    #expect(summary.findings.map(\.fix?.value) == ["4s"])
  }

  @Test func `healthy idle closes give no incident, no finding and no unexplained close`() {
    var story = Story()
    story.nginx(keepaliveTimeout: .seconds(4))
    story.watchAll()
    for index in 0..<500 {
      story.idleClose(Story.a, at: Double(index) * 100 + 100, idle: .milliseconds(5000))
      story.advance(to: Double(index) * 100)
    }
    let summary = story.finish()
    #expect(story.given.isEmpty)
    #expect(summary.findings.isEmpty)
    #expect(summary.books.unexplainedCloses == 0)
    #expect(summary.upstreams.map(\.idleTimeout?.value) == [.seconds(5)])
  }

  @Test func `the same observations give the same bytes`() {
    func tell() -> [Incident] {
      var story = Story()
      story.nginx()
      story.watchAll()
      for index in 0..<40 {
        let at = 1000 + Double(index) * 13
        let backend = index % 3 == 0 ? Story.a : Story.b
        if index % 2 == 0 {
          story.closedUnanswered(backend, at: at, request: nil)
        } else {
          story.stale(backend, at: at, request: nil)
        }
        story.error(.prematurelyClosed, .tcp(backend), at: at)
        story.advance(to: at)
      }
      _ = story.finish()
      return story.given
    }
    #expect(tell() == tell())
  }
}

@Suite struct FloodTests {
  /// Matching once looked at every pair of a flood: a backend that was down under load (11,000 errors
  /// a second) kept the session busy for minutes, deaf to Ctrl-C.
  @Test func `five thousand refused connects are matched in order, and the rest beside them`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<5000 {
      let at = 1000 + Double(index) * 0.1
      story.refused(Story.b, at: at)
      story.error(.connectFailed, .tcp(Story.b), at: at, errno: 111, uri: nil)
      if index == 2500 {
        story.closedUnanswered(Story.a, at: at)
        story.error(.prematurelyClosed, .tcp(Story.a), at: at)
      }
      if index.isMultiple(of: 500) { story.advance(to: at - 100) }
    }
    let summary = story.finish()
    #expect(summary.books.errors == 5001)
    #expect(summary.books.matched > 4500)
    #expect(
      summary.findings.map { "\($0.upstream) \($0.cause.rawValue) \($0.errors)" } == [
        "10.231.7.3:9001 not-listening 5000", "10.231.7.2:9001 closed-without-response 1",
      ])
  }

  /// Without processes a kernel record names no port: it may be told, but not with confidence.
  @Test func `an OOM kill in the close's second, from files, is likely and not certain`() throws {
    var story = Story()
    story.nginx()
    for source in ["packets", "kernel"] {
      story.observe(.counters(Counters(source: source, seen: 0, lost: 0)), at: 0)
    }
    story.closedUnanswered(Story.a, at: 1000)
    story.oomKill(pid: 5, at: 998)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.verdict.cause == .oomKill)
    #expect(incident.verdict.probability < 0.9)
    #expect(incident.verdict.rivals.contains { $0.cause == .closedWithoutResponse })
  }
}
