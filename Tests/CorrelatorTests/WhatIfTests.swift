import Correlator
import Evidence
import Testing

/// A session's exchanges under a changed setting.
@Suite struct WhatIfTests {
  @Test(arguments: [
    ("keepalive_timeout=4s", "keepalive_timeout=4s"),
    ("keepalive_timeout=1500ms", "keepalive_timeout=1500ms"),
    ("keepalive_timeout=1m30s", "keepalive_timeout=90s"),
    ("keepalive_timeout=75", "keepalive_timeout=75s"),
    ("keepalive=0", "keepalive=0"), ("max_fails=3", "max_fails=3"),
    ("proxy_next_upstream=error,timeout", "proxy_next_upstream=error timeout"),
  ])
  func `a setting is read as nginx reads it`(text: String, expected: String) {
    #expect(WhatIfSetting(text)?.description == expected)
  }

  @Test(arguments: [
    "", "keepalive_timeout", "keepalive_timeout=", "keepalive_timeout=-1s", "keepalive_timeout=4x",
    "keepalive=-1", "keepalive_requests=0", "proxy_next_upstream=sometimes", "worker_processes=4",
    "keepalive_timeout=99999999999999999999d", "proxy_read_timeout=0", "=4s",
  ])
  func `what nginx would refuse is refused`(text: String) {
    #expect(WhatIfSetting(text) == nil)
  }

  /// Seven races after 5 s, one after 1 s, and 100 reuses of which 20 after more than 4 s.
  private func races() -> Story {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<6 {
      story.idleClose(Story.a, at: 50 + Double(index), idle: .milliseconds(5000 + Int64(index)))
    }
    let short = ReuseGaps.bucket(of: .milliseconds(100))
    let long = ReuseGaps.bucket(of: .milliseconds(4800))
    story.observe(
      .reuseGaps(ReuseGaps(responder: Story.a, counts: [short: 80, long: 20])), at: 60)
    for index in 0..<8 {
      let idle: TimeSpan = index == 0 ? .seconds(1) : .milliseconds(5002)
      story.stale(Story.a, at: 5000 + Double(index) * 1000, idle: idle, served: 9)
      story.error(.prematurelyClosed, .tcp(Story.a), at: 5000 + Double(index) * 1000)
    }
    story.finishQuietly()
    return story
  }

  @Test
  func `a shorter keepalive_timeout prevents the races after a longer idle time, and costs reuses`()
    throws
  {
    let story = races()
    let setting = try #require(WhatIfSetting("keepalive_timeout=4s"))
    let result = try #require(story.correlator.whatIf(setting).first)
    #expect(result.prevented == 7)
    #expect(result.ofErrors == 8)
    #expect(result.moreConnections == 20)
    #expect(result.ofReuses == 100)
  }

  @Test func `the fix of the race says what it would have done`() throws {
    var story = races()
    let finding = try #require(story.finish().findings.first)
    #expect(finding.fix?.value == "4s")
    #expect(finding.whatIf?.prevented == 7)
    #expect(finding.whatIf?.moreConnections == 20)
  }

  @Test func `a longer keepalive_timeout than now prevents nothing`() throws {
    let setting = try #require(WhatIfSetting("keepalive_timeout=75s"))
    let result = try #require(races().correlator.whatIf(setting).first)
    #expect(result.prevented == 0)
    #expect(result.moreConnections == 0)
  }

  @Test func `no keepalive prevents every race and costs every reuse`() throws {
    let setting = try #require(WhatIfSetting("keepalive=0"))
    let result = try #require(races().correlator.whatIf(setting).first)
    #expect(result.prevented == 8)
    #expect(result.moreConnections == 100)
  }

  @Test func `more failures allowed: peers that failed once are not left out`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for (backend, time) in [(Story.a, 1000.0), (Story.b, 1100.0)] {
      story.refused(backend, at: time)
      story.error(.connectFailed, .tcp(backend), at: time, errno: 111)
    }
    for index in 0..<4 {
      story.error(.noLiveUpstreams, .group("pair"), at: 1200 + Double(index) * 100)
    }
    let summary = story.finish()
    let setting = try #require(WhatIfSetting("max_fails=3"))
    let result = try #require(story.correlator.whatIf(setting).first { $0.upstream == "pair" })
    #expect(result.prevented == 4)
    #expect(summary.incidents[0].ledToCount == 4)
    #expect(summary.findings.filter { $0.cause == .notListening }.map(\.ledTo) == [4, 4])
  }

  @Test func `a retry of what may have been executed is counted`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    for index in 0..<3 {
      let time = 1000 + Double(index) * 1000
      let connection = story.closedUnanswered(Story.a, at: time)
      story.owner(connection, pid: 3434)
      story.error(.prematurelyClosed, .tcp(Story.a), at: time)
    }
    story.finishQuietly()
    let setting = try #require(
      WhatIfSetting("proxy_next_upstream=error timeout non_idempotent"))
    let result = try #require(story.correlator.whatIf(setting).first)
    #expect(result.ofErrors == 3)
    #expect(result.notes.contains { $0.contains("3 of these requests may have been executed") })
  }

  @Test func `an acknowledged POST is not called safe, a rejected one is`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.closedUnanswered(Story.a, at: 1000)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    story.stale(Story.b, at: 2000)
    story.error(.prematurelyClosed, .tcp(Story.b), at: 2000)
    let incidents = story.finish().incidents
    #expect(incidents.map(\.retrySafety.isSafe) == [false, true])
  }
}
