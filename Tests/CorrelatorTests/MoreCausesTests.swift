import Correlator
import Evidence
import Testing

/// The causes that need more than one connection, or more than packets, to be told.
@Suite struct MoreCausesTests {
  private func verdict(
    keepaliveIsDefault: Bool = false, _ tell: (inout Story) -> Void
  ) -> Incident? {
    var story = Story()
    story.nginx(keepaliveIsDefault: keepaliveIsDefault)
    story.watchAll()
    tell(&story)
    _ = story.finish()
    return story.given.last
  }

  @Test func `a close right after the hundredth answer, again and again, is the request limit`()
    throws
  {
    let incident = try #require(
      verdict { story in
        for index in 0..<6 {
          story.limitClose(Story.a, at: 100 + Double(index) * 50, served: 100)
        }
        story.advance(to: 4000)
        story.stale(Story.a, at: 5000, idle: .microseconds(300), served: 100)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .requestLimit)
    #expect(incident.verdict.probability > 0.95)
    #expect(incident.fix?.directive == "keepalive_requests")
    #expect(incident.fix?.value == "99")
  }

  @Test func `a close after its idle limit stays the idle race where a request limit is known`()
    throws
  {
    let incident = try #require(
      verdict { story in
        for index in 0..<6 {
          story.limitClose(Story.a, at: 100 + Double(index) * 50, served: 100)
        }
        story.advance(to: 4000)
        story.stale(Story.a, at: 5000, idle: .seconds(5), served: 7)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .staleKeepalive)
    #expect(incident.ruledOut.contains { $0.contains("no request limit") })
  }

  @Test func `one worker of a pool ends with code 0 and is replaced: a recycle`() throws {
    let incident = try #require(
      verdict { story in
        story.pool(of: 500, pids: [501, 502, 503])
        story.exit(501, parent: 500, code: 0, at: 200)
        story.pool(of: 500, pids: [504], at: 250)
        let connection = story.closedUnanswered(Story.a, at: 5000)
        story.owner(connection, pid: 502, parent: 500)
        story.exit(502, parent: 500, code: 0, at: 5000.2)
        story.pool(of: 500, pids: [505], at: 5050)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .workerRecycle)
    #expect(incident.verdict.probability > 0.9)
    #expect(incident.evidence.contains { $0.text.contains("took its place") })
  }

  @Test func `a process that ends with an error code exited, however many siblings it has`() throws
  {
    let incident = try #require(
      verdict { story in
        story.pool(of: 500, pids: [501, 502])
        let connection = story.closedUnanswered(Story.a, at: 5000)
        story.owner(connection, pid: 502, parent: 500)
        story.exit(502, parent: 500, code: 3, at: 5000.2)
        story.pool(of: 500, pids: [505], at: 5050)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .exited)
    #expect(incident.verdict.probability > 0.9)
  }

  @Test func `a backend that is an nginx and lets go of all its connections was reloaded`() throws {
    let incident = try #require(
      verdict { story in
        story.pool(of: 600, pids: [601], command: "nginx")
        for index in 0..<3 {
          story.idleClose(
            Story.a, at: 4980 + Double(index), idle: .milliseconds(700 + Int64(index) * 900))
        }
        let connection = story.stale(Story.a, at: 5000, idle: .milliseconds(400))
        story.owner(connection, pid: 601, parent: 600, command: "nginx")
        story.exit(601, parent: 600, code: 0, at: 5020, command: "nginx")
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .nginxReload)
    #expect(incident.verdict.probability > 0.9)
  }

  @Test func `a reset within a body is a body that is too large`() throws {
    let incident = try #require(
      verdict { story in
        let (sent, reset) = (story.at(4990), story.at(4999.5))
        let connection = story.connection(Story.a, at: 5000) {
          $0.connState = .rstr
          $0.manner = .activeReset
          $0.phase = .sendingRequest
          $0.requestDelivery = .partlyAcknowledged
          $0.requestSentAt = sent
          $0.requestBytes = 700_000
          $0.responderReset = Reset(time: reset, manner: .activeReset)
          $0.request = "POST /x"
        }
        story.owner(connection, pid: 3434)
        story.error(.recvFailed, .tcp(Story.a), at: 5000, errno: 104)
      })
    #expect(incident.verdict.cause == .bodyTooLarge)
    #expect(incident.verdict.probability > 0.9)
  }

  private func lost(_ story: inout Story) {
    let (sent, reset) = (story.at(4900), story.at(4999.5))
    let connection = story.connection(Story.a, at: 5000) {
      $0.connState = .rstr
      $0.manner = .passiveReset
      $0.phase = .receivingResponse
      $0.requestSentAt = sent
      $0.responseBytes = 300_000
      $0.responderReset = Reset(time: reset, manner: .passiveReset)
      $0.request = "POST /x"
    }
    story.owner(connection, pid: 3434)
    story.error(.bodyRecvFailed, .tcp(Story.a), at: 5000, errno: 104)
  }

  @Test func `a full table of connection tracking is named with the kernel's own words`() throws {
    let incident = try #require(
      verdict { story in
        lost(&story)
        story.observe(
          .kernel(
            KernelEvent(
              kind: .network("conntrack table full"),
              text: "nf_conntrack: nf_conntrack: table full, dropping packet")), at: 4998)
      })
    #expect(incident.verdict.cause == .conntrack)
    #expect(incident.verdict.probability > 0.9)
    #expect(incident.fix?.text.contains("nf_conntrack_max") == true)
  }

  @Test func `a host that knows no such socket in mid-transfer points to connection tracking`()
    throws
  {
    let incident = try #require(verdict { lost(&$0) })
    let named = [incident.verdict.cause] + incident.verdict.rivals.map(\.cause)
    #expect(named.contains(.conntrack))
  }

  @Test func `the race of an nginx that keeps connections by default is the default's`() throws {
    let incident = try #require(
      verdict(keepaliveIsDefault: true) { story in
        story.stale(Story.a, at: 5000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .changedDefaults)
    #expect(incident.fix?.directive == "keepalive")
    #expect(incident.fix?.value == "0")
    #expect(incident.verdict.rivals.first?.cause == .staleKeepalive)
  }

  @Test func `in light capture the socket's last words tell an unanswered request`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.connection(Story.a, at: 5000) {
          $0.isLight = true
          $0.phase = .unknown
          $0.exchanges = nil
          $0.requestDelivery = .unknown
          $0.responderFIN = $0.closedAt
        }
        story.owner(connection, pid: 3434)
        story.observe(
          .socketDeath(
            SocketDeath(
              role: .responder, local: Story.a, remote: connection.flow.originator,
              bytesAcknowledged: 900, bytesReceived: 120, sinceDataSent: .seconds(2),
              sinceDataReceived: .milliseconds(6))), at: 5000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.close?.phase == .awaitingResponse)
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `every cause of the list has its rule`() {
    #expect(Set(CauseID.allCases).subtracting(Correlator.causes) == [.unknown])
  }
}
