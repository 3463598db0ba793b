import Correlator
import Evidence
import Testing

/// Whose end it was, and when, decides between the causes that are the end of a process.
@Suite struct DeathTests {
  private func told(_ tell: (inout Story) -> Void) -> Incident? {
    var story = Story()
    story.nginx()
    story.watchAll()
    tell(&story)
    _ = story.finish()
    return story.given.last
  }

  private func exit(_ pid: Int32, signal: Int32? = nil, code: Int32? = nil) -> Observation.Fact {
    .processExit(
      ProcessExit(
        process: ProcessIdentity(pid: pid, command: "app"), code: code, signal: signal))
  }

  /// A worker that died a second ago was once blamed for the next request's reset, at 96 %.
  @Test func `the end of another worker a second before is not this close's cause`() throws {
    let incident = try #require(
      told { story in
        story.owner(story.closedUnanswered(Story.a, at: 100), pid: 7)
        story.observe(exit(7, signal: 9), at: 1000)
        story.closedUnanswered(Story.a, at: 2000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 2000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `a worker ended in the middle of a long request fell to its master's time-out`() throws
  {
    let incident = try #require(
      told { story in
        let sent = story.at(1000)
        let connection = story.connection(Story.a, at: 31_000) {
          $0.requestSentAt = sent
          $0.responderFIN = $0.closedAt
          $0.request = "POST /x"
        }
        story.owner(connection, pid: 7)
        story.observe(exit(7, signal: 6), at: 31_000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 31_000)
      })
    #expect(incident.verdict.cause == .masterTimeout)
    #expect(incident.verdict.rivals.contains { $0.cause == .crash })
  }

  @Test func `gunicorn's worker exits with 1 when its master loses patience`() throws {
    func cause(after milliseconds: Double) -> CauseID? {
      told { story in
        let sent = story.at(1000)
        let connection = story.connection(Story.a, at: 1000 + milliseconds) {
          $0.requestSentAt = sent
          $0.responderFIN = $0.closedAt
        }
        story.owner(connection, pid: 7)
        story.observe(
          .processExit(
            ProcessExit(process: ProcessIdentity(pid: 7, command: "gunicorn: worke"), code: 1)),
          at: 1000 + milliseconds)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000 + milliseconds)
      }?.verdict.cause
    }
    #expect(cause(after: 30_000) == .masterTimeout)
    #expect(cause(after: 20) == .exited)
  }

  @Test func `a pool that ends together was restarted`() throws {
    let incident = try #require(
      told { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.owner(connection, pid: 7)
        story.owner(story.closedUnanswered(Story.a, at: 300), pid: 8)
        story.observe(exit(7, signal: 15), at: 1000)
        story.observe(exit(8, signal: 15), at: 1001)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .restart)
  }

  @Test func `a uWSGI request above the buffer size that is closed at once is too large`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    let (sent, reset) = (story.at(998), story.at(999))
    let connection = story.connection(Story.a, at: 1000) {
      $0.manner = .activeReset
      $0.connState = .rstr
      $0.closedAt = reset
      $0.requestSentAt = sent
      $0.requestBytes = 6300
      $0.responderReset = Reset(time: reset, manner: .activeReset)
    }
    story.owner(connection, pid: 7)
    let line = NginxLine(
      message: .recvFailed, text: "recv() failed", level: "error", stamped: story.at(1000),
      worker: 100, errno: 104, request: "POST /x HTTP/1.1", scheme: "uwsgi", upstream: .tcp(Story.a)
    )
    story.observe(.nginxLine(line), at: 1000)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.verdict.cause == .headerTooLarge)
  }

  @Test func `an end that nobody can explain is told all the same`() throws {
    let incident = try #require(
      told { story in
        let connection = story.closedUnanswered(Story.a, at: 4000)
        story.owner(connection, pid: 7)
        story.observe(exit(7), at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .unknown)
    #expect(incident.evidence.contains { $0.text.hasPrefix("pid 7 (app), which owned") })
  }
}
