import Correlator
import Evidence
import Testing

/// Healthy traffic makes no incident and no finding; differences are called by their chance.
@Suite struct QuietGroundTests {
  /// An hour of idle closes by either side, compressed in nothing but the test's own time.
  private func hour(backendKeeps: TimeSpan, nginxKeeps: TimeSpan) -> Summary {
    var story = Story()
    story.nginx(keepaliveTimeout: nginxKeeps)
    story.watchAll()
    for index in 0..<600 {
      let time = Double(index) * 6000 + 1000
      let backend = index % 2 == 0 ? Story.a : Story.b
      let jitter = TimeSpan.milliseconds(Int64(index % 7))
      if backendKeeps < nginxKeeps {
        story.idleClose(backend, at: time, idle: backendKeeps + jitter)
      } else {
        story.connection(backend, at: time) {
          $0.closer = .originator
          $0.phase = .idle
          $0.idleBeforeClose = nginxKeeps + jitter
          $0.exchanges = 40
        }
        // Now and then a backend's own: a deploy, a worker that ends.
        if index % 100 == 0 {
          story.idleClose(backend, at: time + 500, idle: .milliseconds(Int64(index) * 31 + 900))
        }
      }
      story.observe(
        .port(PortCheck(target: backend, outcome: .open, connectTime: .microseconds(80))), at: time)
      story.advance(to: time)
    }
    let summary = story.finish()
    #expect(story.given.isEmpty)
    return summary
  }

  @Test func `a backend that keeps connections longer than nginx is in order`() {
    let summary = hour(backendKeeps: .seconds(75), nginxKeeps: .seconds(60))
    #expect(summary.incidents.isEmpty)
    #expect(summary.findings.isEmpty)
    #expect(summary.books.errors == 0)
    #expect(summary.books.unexplainedCloses == 0)
    #expect(summary.comparisons.allSatisfy { $0.more == nil })
  }

  @Test func `a backend that lets go sooner is a finding, and no incident`() throws {
    let summary = hour(backendKeeps: .seconds(5), nginxKeeps: .seconds(60))
    #expect(summary.incidents.isEmpty)
    #expect(summary.findings.map(\.cause) == [.staleKeepalive, .staleKeepalive])
    #expect(summary.findings.allSatisfy { $0.errors == 0 && $0.fix?.value == "4s" })
    let timeout = try #require(summary.findings.first?.idleTimeout)
    #expect((timeout.value - .seconds(5)).magnitude < .milliseconds(20))
    #expect(timeout.count == 300)
  }

  @Test func `a tie is a race, too`() {
    let summary = hour(backendKeeps: .milliseconds(59_990), nginxKeeps: .seconds(60))
    #expect(summary.findings.map(\.cause) == [.staleKeepalive, .staleKeepalive])
  }

  @Test func `two backends of which one fails far more often differ, and not by chance`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<200 {
      story.idleClose(
        index % 2 == 0 ? Story.a : Story.b, at: Double(index) * 10 + 100, idle: .seconds(5))
    }
    for index in 0..<20 {
      let backend = index == 0 ? Story.b : Story.a
      story.closedUnanswered(backend, at: 5000 + Double(index) * 100)
      story.error(.prematurelyClosed, .tcp(backend), at: 5000 + Double(index) * 100)
    }
    let errors = try #require(story.finish().comparisons.first { $0.what == "errors" })
    #expect(errors.more == "\(Story.a)")
    #expect(errors.pValue < 0.001)
  }

  @Test func `three errors against two are no difference`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<200 {
      story.idleClose(
        index % 2 == 0 ? Story.a : Story.b, at: Double(index) * 10 + 100, idle: .seconds(5))
    }
    for index in 0..<5 {
      let backend = index < 2 ? Story.b : Story.a
      story.closedUnanswered(backend, at: 5000 + Double(index) * 100)
      story.error(.prematurelyClosed, .tcp(backend), at: 5000 + Double(index) * 100)
    }
    let errors = try #require(story.finish().comparisons.first { $0.what == "errors" })
    #expect(errors.more == nil)
    #expect(errors.pValue > 0.5)
  }

  @Test func `answers that slowed before the closes are said to have`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    let quick = ReuseGaps.bucket(of: .milliseconds(5))
    let slow = ReuseGaps.bucket(of: .milliseconds(700))
    for second in 0..<60 {
      let counts: [Int: UInt64] = second >= 56 ? [quick: 20, slow: 30] : [quick: 50]
      story.observe(
        .responseTimes(ResponseTimes(responder: Story.a, counts: counts)),
        at: Double(second) * 1000)
    }
    story.closedUnanswered(Story.a, at: 60_000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 60_000)
    let finding = try #require(story.finish().findings.first)
    #expect(finding.notes.contains { $0.contains("answers had slowed") })
  }

  @Test func `requests that fail by their size alone give the threshold`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<40 {
      story.connection(Story.a, at: 100 + Double(index) * 20) {
        $0.phase = .idle
        $0.closer = .originator
        $0.requestBytes = UInt64(400 + index * 80)
        $0.responseBytes = 90
        $0.idleBeforeClose = .seconds(60)
      }
    }
    for index in 0..<4 {
      let time = 5000 + Double(index) * 1000
      let sent = story.at(time - 1)
      story.connection(Story.a, at: time) {
        $0.requestSentAt = sent
        $0.responderFIN = $0.closedAt
        $0.requestBytes = UInt64(9000 + index * 500)
        $0.request = "GET /x"
      }
      story.error(
        .prematurelyClosed, .tcp(Story.a), at: time, request: "GET /x HTTP/1.1")
    }
    let summary = story.finish()
    let threshold = try #require(summary.upstreams.first?.sizeThreshold)
    #expect(threshold.largestAnswered == 3520)
    #expect(threshold.smallestFailed == 9000)
    #expect(threshold.chance < 0.0001)
    #expect(summary.findings.first?.cause == .headerTooLarge)
  }
}
