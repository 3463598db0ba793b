import Correlator
import Evidence
import Testing

/// What the kernel's tracepoints add: whose act a close was, although nobody saw the connection open.
@Suite struct WitnessTests {
  private let app = ProcessIdentity(pid: 3434, command: "app", parent: 3000)

  private func verdict(_ tell: (inout Story) -> Void) -> Incident? {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.observe(.counters(Counters(source: "trace", seen: 0, lost: 0)), at: 0)
    tell(&story)
    _ = story.finish()
    return story.given.last
  }

  private func close(_ connection: Connection, isExiting: Bool) -> Observation.Fact {
    .socketAct(
      SocketAct(
        act: .close, role: .responder, local: connection.flow.responder,
        remote: connection.flow.originator, process: app, isExiting: isExiting))
  }

  private func end(code: Int32? = nil, signal: Int32? = nil) -> Observation.Fact {
    .processExit(ProcessExit(process: app, code: code, signal: signal))
  }

  @Test func `a connection too short to be sampled has the owner that closed it`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.observe(close(connection, isExiting: false), at: 999.5)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
    #expect(incident.verdict.probability > 0.95)
    #expect(incident.close?.owner == app)
    #expect(
      incident.evidence.contains {
        $0.source == "trace" && $0.text == "pid 3434 (app) closed it itself, while it ran"
      })
  }

  @Test func `a death after the process had closed it is not the reason`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.observe(close(connection, isExiting: false), at: 999.5)
        story.oomKill(pid: 3434, at: 1001)
        story.observe(end(signal: 9), at: 1002)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `who sent SIGKILL is named`() throws {
    let shell = ProcessIdentity(pid: 900, command: "bash")
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.observe(.signal(SignalSent(signal: 9, target: app, sender: shell)), at: 998)
        story.observe(close(connection, isExiting: true), at: 999.5)
        story.observe(end(signal: 9), at: 1003)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .killed)
    #expect(incident.verdict.probability > 0.95)
    #expect(
      incident.evidence.contains {
        $0.text
          == "pid 3434 (app) was ended by SIGKILL, sent by pid 900 (bash); it owned this connection"
      })
    #expect(incident.fix?.text.hasPrefix("pid 900 (bash) sent the signal") == true)
  }

  @Test func `a process that nobody had found is known by its end`() throws {
    let shell = ProcessIdentity(pid: 900, command: "bash")
    func told(signal: Bool) -> Incident? {
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        if signal {
          story.observe(.signal(SignalSent(signal: 9, target: app, sender: shell)), at: 998)
        }
        story.observe(close(connection, isExiting: true), at: 999.5)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      }
    }
    #expect(told(signal: true)?.verdict.cause == .killed)
    let exited = try #require(told(signal: false))
    #expect(exited.verdict.cause == .exited)
    #expect(exited.evidence.contains { $0.text.contains("nobody sent it a signal") })
  }

  @Test func `the same signal from its master is the master's time-out`() throws {
    let master = ProcessIdentity(pid: 3000, command: "app")
    let incident = try #require(
      verdict { story in
        let sent = story.at(3000)
        let connection = story.connection(Story.a, at: 8000) {
          $0.firstPacket = sent
          $0.requestSentAt = sent
          $0.responderFIN = $0.closedAt
          $0.request = "POST /x"
        }
        story.observe(.signal(SignalSent(signal: 9, target: app, sender: master)), at: 7998)
        story.observe(close(connection, isExiting: true), at: 7999.5)
        story.observe(end(signal: 9), at: 8003)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 8000)
      })
    #expect(incident.verdict.cause == .masterTimeout)
    #expect(incident.verdict.probability > 0.9)
    #expect(incident.evidence.contains { $0.text.contains("its own master, pid 3000 (app)") })
  }

  @Test func `a large process that takes a second to die is still the owner`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 5000)
        story.oomKill(pid: 3434, at: 3900)
        story.observe(close(connection, isExiting: true), at: 4999.5)
        story.observe(end(signal: 9), at: 5002)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 5000)
      })
    #expect(incident.verdict.cause == .oomKill)
    #expect(incident.verdict.probability > 0.95)
  }

  @Test func `an exit that was asked for says by whom`() throws {
    let systemd = ProcessIdentity(pid: 1, command: "systemd")
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.observe(.signal(SignalSent(signal: 15, target: app, sender: systemd)), at: 900)
        story.observe(close(connection, isExiting: true), at: 999.5)
        story.observe(end(code: 0), at: 1001)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
      })
    #expect(incident.verdict.cause == .exited)
    #expect(
      incident.evidence.contains {
        $0.text.contains("exited with code 0, after SIGTERM from pid 1 (systemd)")
      })
  }

  @Test func `a reset's reason is the kernel's word`() throws {
    let incident = try #require(
      verdict { story in
        let (sent, reset) = (story.at(997), story.at(999.5))
        let connection = story.connection(Story.a, at: 1000) {
          $0.connState = .rstr
          $0.manner = .activeReset
          $0.requestSentAt = sent
          $0.responderReset = Reset(time: reset, manner: .activeReset)
        }
        story.observe(
          .resetSent(
            ResetSent(
              local: connection.flow.responder, remote: connection.flow.originator,
              role: .responder, reason: "TCP_ABORT_ON_CLOSE", state: "TCP_CLOSE", process: app)),
          at: 999.5)
        story.error(.recvFailed, .tcp(Story.a), at: 1000, errno: 104)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
    #expect(incident.close?.owner == app)
    #expect(
      incident.evidence.contains {
        $0.text
          == "its kernel's reason for the reset: TCP_ABORT_ON_CLOSE (closed with data unread)"
      })
  }

  @Test func `a tuple that is used again keeps its owners apart`() throws {
    let other = ProcessIdentity(pid: 4000, command: "other")
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 1000)
        story.observe(close(connection, isExiting: false), at: 999.5)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 1000)
        story.observe(
          .socketAct(
            SocketAct(
              act: .close, role: .responder, local: connection.flow.responder,
              remote: connection.flow.originator, process: other, isExiting: false)), at: 1300)
      })
    #expect(incident.close?.owner == app)
  }

  @Test func `the worker that connected decides which error is whose`() throws {
    var story = Story()
    story.nginx(workers: [100, 101])
    story.watchAll()
    let first = story.closedUnanswered(Story.a, at: 1000, request: nil)
    let second = story.closedUnanswered(Story.a, at: 1000.2, request: nil)
    for (connection, worker) in [(first, 101), (second, 100)] as [(Connection, Int32)] {
      story.observe(
        .socketAct(
          SocketAct(
            act: .connect, role: .originator, local: connection.flow.originator,
            remote: connection.flow.responder,
            process: ProcessIdentity(pid: worker, command: "nginx"))), at: 990)
    }
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000, worker: 100)
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000.2, worker: 101)
    _ = story.finish()
    #expect(story.given.map(\.close?.flow) == [second.flow, first.flow])
  }
}
