import Correlator
import Evidence
import Testing

/// One story a cause: what the probes saw, and what must be said.
@Suite struct VerdictTests {
  private func verdict(_ tell: (inout Story) -> Void) -> Incident? {
    var story = Story()
    story.nginx()
    story.watchAll()
    tell(&story)
    _ = story.finish()
    return story.given.last
  }

  @Test func `FIN before the request is the stale keepalive race, with nginx's value to set`()
    throws
  {
    let incident = try #require(
      verdict { story in
        for index in 0..<5 {
          story.idleClose(
            Story.a, at: Double(index) * 10 + 100, idle: .milliseconds(5001 + Int64(index)))
        }
        story.stale(Story.a, at: 5000, idle: .milliseconds(5002))
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .staleKeepalive)
    #expect(incident.verdict.probability > 0.95)
    #expect(incident.close?.requestDelivery == .rejected)
    #expect(incident.fix?.directive == "keepalive_timeout")
    #expect(incident.fix?.value == "4s")
    #expect(incident.fix?.place == "upstream \"pair\" (/etc/nginx/nginx.conf:12)")
    #expect(incident.ruledOut.contains("no OOM kill in the kernel log"))
  }

  @Test func `a FIN after the request, its owner alive, is a close without a response`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.owner(connection, pid: 3434)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
    #expect(incident.verdict.probability > 0.95)
    #expect(incident.close?.owner?.pid == 3434)
    #expect(incident.evidence.contains { $0.text.contains("still running") })
  }

  @Test func `without the backend's process, the same FIN caps the confidence`() throws {
    let incident = try #require(
      verdict { story in
        story.closedUnanswered(Story.a, at: 1000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
    #expect(incident.verdict.probability < 0.9)
  }

  @Test func `the same FIN with its owner OOM-killed is the OOM kill`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.owner(connection, pid: 3434)
        story.oomKill(pid: 3434, at: 998)
        story.observe(
          .processExit(
            ProcessExit(process: ProcessIdentity(pid: 3434, command: "app"), signal: 9)), at: 999)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .oomKill)
    #expect(incident.verdict.probability > 0.95)
    #expect(incident.evidence.first?.text.contains("limit 64 MiB") == true)
  }

  @Test func `an OOM kill of a process that does not serve the port is not believed`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.owner(connection, pid: 3434)
        story.oomKill(pid: 9999, at: 998)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `a segfault of the owner is a crash`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.b, at: 1000)
        story.owner(connection, pid: 77)
        story.observe(
          .kernel(
            KernelEvent(
              kind: .fault(Fault(pid: 77, command: "app", name: "segfault", image: "app")),
              text: "app[77]: segfault at 0")), at: 999)
        story.error(.prematurelyClosed, .tcp(Story.b), at: 1000)
      })
    #expect(incident.verdict.cause == .crash)
    #expect(incident.verdict.probability > 0.95)
  }

  @Test func `SIGKILL from somebody else is not the OOM killer's`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.b, at: 1000)
        story.owner(connection, pid: 77)
        story.observe(
          .processExit(ProcessExit(process: ProcessIdentity(pid: 77, command: "app"), signal: 9)),
          at: 999.8)
        story.error(.prematurelyClosed, .tcp(Story.b), at: 1000)
      })
    #expect(incident.verdict.cause == .killed)
  }

  @Test func `a refused connect is nothing listening, and names who died before`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.b, at: 500)
        story.owner(connection, pid: 77)
        story.observe(
          .processExit(ProcessExit(process: ProcessIdentity(pid: 77, command: "app"), signal: 15)),
          at: 600)
        story.refused(Story.b, at: 5000)
        story.error(.connectFailed, .tcp(Story.b), at: 5000, errno: 111)
      })
    #expect(incident.verdict.cause == .notListening)
    #expect(incident.close?.connState == .rej)
    #expect(incident.evidence.contains { $0.text.contains("pid 77 (app)") })
  }

  @Test func `nginx's own time-out is nginx closing first`() throws {
    let incident = try #require(
      verdict { story in
        let sent = story.at(1000)
        story.connection(Story.a, at: 2000.6) {
          $0.closer = .originator
          $0.requestSentAt = sent
          $0.request = "POST /x"
        }
        story.error(
          .headerTimedOut, .tcp(Story.a), at: 2000, errno: 110, text: "upstream timed out")
      })
    #expect(incident.verdict.cause == .nginxClosedFirst)
    #expect(incident.close?.closer == .originator)
    #expect(incident.fix?.directive == "proxy_read_timeout")
  }

  @Test func `no live upstreams points to the failures that disabled the peers`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.refused(Story.a, at: 1000)
    story.error(.connectFailed, .tcp(Story.a), at: 1000, errno: 111)
    story.closedUnanswered(Story.b, at: 2000)
    story.error(.prematurelyClosed, .tcp(Story.b), at: 2000)
    story.error(.noLiveUpstreams, .group("pair"), at: 2500, worker: 100)
    story.error(.noLiveUpstreams, .group("pair"), at: 2600, worker: 101)
    let summary = story.finish()
    #expect(summary.incidents.map(\.verdict.cause).suffix(2) == [.peersDisabled, .peersDisabled])
    #expect(summary.incidents[2].roots == [1, 2])
    // Without a zone each worker counts for itself: the other worker's failures disabled nothing here.
    #expect(summary.incidents[3].roots == [])
    #expect(summary.books.unmatchedBecause == ["nothing was sent": 2])
  }

  @Test func `an error without packets, kernel or processes is unknown`() throws {
    var story = Story()
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
    let summary = story.finish()
    let incident = try #require(summary.incidents.first)
    #expect(incident.verdict.cause == .unknown)
    #expect(incident.match.unmatchedBecause == "packets were not watched")
  }

  @Test func `a half body is a truncated response, and its owner's death explains it better`()
    throws
  {
    func told(dies: Bool) -> CauseID? {
      verdict { story in
        let connection = story.connection(Story.a, at: 1000) {
          $0.phase = .receivingResponse
          $0.responseBytes = 512
          $0.responderFIN = $0.closedAt
        }
        story.owner(connection, pid: 5)
        if dies { story.oomKill(pid: 5, at: 999) }
        story.error(.bodyClosed, .tcp(Story.a), at: 1000)
      }?.verdict.cause
    }
    #expect(told(dies: false) == .truncatedResponse)
    #expect(told(dies: true) == .oomKill)
  }

  @Test func `a new connection that is closed before its first request is no stale one`() throws {
    let incident = try #require(
      verdict { story in
        let (fin, sent, reset) = (story.at(999), story.at(999.2), story.at(999.3))
        story.connection(Story.a, at: 1000) {
          $0.closedAt = fin
          $0.phase = .idle
          $0.requestDelivery = .rejected
          $0.requestSentAt = sent
          $0.requestAfterFIN = true
          $0.responderFIN = fin
          $0.responderReset = Reset(time: reset, manner: .passiveReset)
          $0.request = "POST /x"
        }
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
    #expect(incident.evidence.contains { $0.text.contains("before any request") })
  }

  @Test func `an error on a UNIX socket does not look for a close among the packets`() throws {
    let incident = try #require(
      verdict { story in story.error(.prematurelyClosed, .unix("/run/app.sock"), at: 1000) })
    #expect(incident.close == nil)
    #expect(incident.match.unmatchedBecause?.hasPrefix("UNIX socket") == true)
    // Nobody is known to have ended: the application closed it, or it is not known who did.
    #expect([.unknown, .closedWithoutResponse].contains(incident.verdict.cause))
  }
}
