import Correlator
import Evidence
import Testing

@testable import Report

@Suite struct SessionMetricsTests {
  private func lines(_ session: inout ReportSession) -> [String] {
    let (summary, facts) = session.finished()
    return SessionMetrics.render(
      summary, facts, started: ReportSession.start, now: ReportSession.start + .seconds(90),
      version: "0.1.0"
    ).split(separator: "\n").map(String.init)
  }

  @Test func `incidents, closes, ports, drops and both idle limits`() {
    var session = ReportSession()
    for index in 1...6 { _ = session.idleClose(after: .seconds(5), at: .seconds(Int64(index) * 9)) }
    session.race(at: .seconds(80))
    let backend = ReportSession.backend
    session.observe(
      .port(PortCheck(target: backend, outcome: .open, connectTime: .milliseconds(2))),
      at: .seconds(81))
    session.observe(.port(PortCheck(target: backend, outcome: .refused)), at: .seconds(82))
    session.observe(
      .counters(Counters(source: "packets", seen: 500, lost: 7)), at: .seconds(83))
    session.observe(
      .kernel(
        KernelEvent(kind: .oomKill(OOMKill(pid: 9, command: "app")), text: "Out of memory")),
      at: .seconds(84))
    let lines = lines(&session)
    let label = "upstream=\"10.0.0.11:8080\""
    for line in [
      "upclose_upstream_errors_total{\(label)} 1",
      "upclose_incidents_total{\(label),cause=\"stale-keepalive\"} 1",
      "upclose_incidents_total{\(label),cause=\"oom-kill\"} 0",
      "upclose_incident_matches_total{outcome=\"matched\"} 1",
      "upclose_upstream_closes_total{\(label),closer=\"responder\",manner=\"fin\"} 7",
      "upclose_upstream_idle_timeout_seconds{\(label)} 5",
      "upclose_upstream_keepalive_timeout_seconds{\(label)} 60",
      "upclose_upstream_port_open{\(label)} 0",
      "upclose_upstream_port_checks_total{\(label),outcome=\"open\"} 1",
      "upclose_upstream_port_connect_time_seconds_sum{\(label)} 0.002",
      "upclose_upstream_port_connect_time_seconds_count{\(label)} 1",
      "upclose_capture_dropped_packets_total 7", "upclose_oom_kills_total 1",
      "upclose_written_timestamp_seconds 1700000090",
    ] {
      #expect(lines.contains(line), "\(line) is missing")
    }
    #expect(Set(lines).count == lines.count, "a series is there twice")
  }

  @Test func `a connection that is told again is counted once, and as it ended`() {
    var session = ReportSession()
    var connection = session.idleClose(after: .seconds(5), at: .seconds(10))
    connection.manner = .activeReset
    session.observe(.connection(connection), at: .seconds(11))
    let closes = lines(&session).filter { $0.hasPrefix("upclose_upstream_closes_total{") }
    #expect(
      closes == [
        "upclose_upstream_closes_total{upstream=\"10.0.0.11:8080\",closer=\"responder\","
          + "manner=\"activeReset\"} 1"
      ])
  }

  @Test func `the port prober's own connections are no closes`() {
    var session = ReportSession()
    let connection = session.idleClose(after: .zero, at: .seconds(10))
    session.observe(
      .port(
        PortCheck(
          target: ReportSession.backend, outcome: .open, source: connection.flow.originator)),
      at: .seconds(9))
    #expect(!lines(&session).contains { $0.hasPrefix("upclose_upstream_closes_total{") })
  }

  @Test func `a verdict that changes moves no counter back`() throws {
    var session = ReportSession()
    session.race(at: .seconds(1))
    var incident = try #require(session.finished().0.incidents.first)
    incident.upstream = "a:1"
    func revised(_ cause: CauseID, _ revision: Int) -> Incident {
      incident.verdict.cause = cause
      incident.revision = revision
      return incident
    }
    var counts = IncidentCounts()
    let start = ReportSession.start
    counts.put(revised(.closedWithoutResponse, 1), at: start)
    counts.settle(at: start + .seconds(5))
    #expect(counts.causes.isEmpty)
    counts.put(revised(.oomKill, 2), at: start + .seconds(6))
    counts.settle(at: start + .seconds(30))
    let key = IncidentCounts.Key(upstream: "a:1", cause: .oomKill)
    #expect(counts.causes == [key: 1])
    counts.put(revised(.crash, 3), at: start + .seconds(31))
    counts.settle(at: nil)
    #expect(counts.causes == [key: 1])
  }
}

@Suite struct LiveTableTests {
  @Test func `the table fits the terminal, and says what it leaves out`() {
    var session = ReportSession()
    session.race(at: .seconds(10))
    for index in 0..<6 {
      session.observe(
        .port(
          PortCheck(
            target: Endpoint(address: IPAddress(v4: 0x0a00_0020 + UInt32(index)), port: 80),
            outcome: .open)), at: .seconds(11))
    }
    let (summary, facts) = session.finished()
    for columns in [40, 79, 200] {
      let lines = LiveTable.lines(summary, facts, columns: columns)
      #expect(lines.allSatisfy { $0.count <= columns })
      #expect(lines.contains { $0.contains("10.0.0.11:8080") }, "the one with errors is shown")
    }
    #expect(LiveTable.lines(summary, facts, columns: 79).last == "4 more upstreams, 0 errors")
  }
}
