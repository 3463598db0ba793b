import Evidence
import Testing

@testable import Sweep

@Suite struct TargetHistoryTests {
  private let target = Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 80)

  private func time(_ second: Int64) -> Timestamp { Timestamp(seconds: second) }

  /// A check a second: `+` open, `-` refused.
  private func run(
    _ checks: String, rise: Int = 2, fall: Int = 2
  ) -> (history: TargetHistory, changes: [TargetHistory.Change?]) {
    var history = TargetHistory()
    let changes = checks.enumerated().map { second, sign in
      let check = PortCheck(
        target: target, outcome: sign == "+" ? .open : .refused,
        connectTime: sign == "+" ? .microseconds(100) : nil,
        reason: sign == "+" ? nil : "connection refused")
      return history.observe(
        check, isGood: sign == "+", at: time(Int64(second)), .init(rise: rise, fall: fall))
    }
    return (history, changes)
  }

  private func outage(_ start: Int64, _ end: Int64?) -> TargetHistory.Outage {
    TargetHistory.Outage(
      start: time(start), end: end.map { time($0) }, outcome: .refused,
      reason: "connection refused")
  }

  @Test func `one bad check is a flap and no outage`() {
    let (history, changes) = run("++-+-++")
    #expect(changes.compactMap { $0 } == [.first(.up)])
    #expect(history.flaps == 2)
    #expect(history.outages == 0)
    #expect(history.goodChecks == 5)
    #expect(history.count(of: .refused) == 2)
  }

  @Test func `an outage lasts from the first bad check to the first good one`() {
    let (history, changes) = run("++---+-++")
    #expect(
      changes == [
        .first(.up), nil, nil, .down(outage(2, nil)), nil, nil, nil, nil, .up(outage(2, 7)),
      ])
    #expect(history.downtime == .seconds(5))
    #expect(history.recentOutages == [outage(2, 7)])
    #expect(!history.isDown)
  }

  @Test func `down at the first check is an outage at once`() {
    let (history, changes) = run("--")
    #expect(changes == [.first(.down), nil])
    #expect(history.currentOutage == outage(0, nil))
  }

  @Test func `without hysteresis each check counts`() {
    let (history, _) = run("+-+-+", rise: 1, fall: 1)
    #expect(history.outages == 2)
    #expect(history.recentOutages == [outage(1, 2), outage(3, 4)])
  }

  @Test func `only the latest outages are kept, all are counted`() {
    let (history, _) = run(String(repeating: "+-", count: 100), rise: 1, fall: 1)
    #expect(history.outages == 100)
    #expect(history.recentOutages.count == 20)
    #expect(history.downtime == .seconds(99))
  }

  @Test func `percentiles are right to two digits`() {
    var times = ConnectTimes()
    #expect(times.percentile(50) == nil)
    for value in 1...1000 { times.record(.microseconds(Int64(value))) }
    for percentile in [50.0, 90, 99] {
      let found = times.percentile(percentile)?.seconds ?? 0
      #expect(abs(found / (percentile * 1e-5) - 1) < 0.011)
    }
    times.record(.seconds(10_000_000))
    #expect((times.longest ?? .zero) >= .seconds(3600))
  }
}

@Suite struct SweepFormTests {
  private let target = Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 80)
  private let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 1_234_567)

  @Test func `a check is a line of JSON`() {
    var bytes: [UInt8] = []
    var line = CheckLine(utcOffset: 3600)
    line.append(
      PortCheck(target: target, outcome: .open, connectTime: .microseconds(210)), at: time,
      to: &bytes)
    line.append(
      PortCheck(
        target: Endpoint(address: IPAddress(high: 0, low: 1), port: 80), outcome: .refused,
        reason: "a \"b\" \\x0D"),
      at: time + .seconds(1), extras: [("tls", "{}")], to: &bytes)
    #expect(
      String(decoding: bytes, as: UTF8.self) == """
        {"ts":"2023-11-14T23:13:20.001234+01:00","target":"10.0.0.1:80","outcome":"open",\
        "connect_time":0.00021,"reason":null}
        {"ts":"2023-11-14T23:13:21.001234+01:00","target":"[::1]:80","outcome":"refused",\
        "connect_time":null,"reason":"a \\"b\\" \\\\x0D","tls":{}}

        """)
  }

  @Test func `metrics name each target once`() {
    var history = TargetHistory()
    for second in Int64(0)..<3 {
      _ = history.observe(
        PortCheck(target: target, outcome: .open, connectTime: .milliseconds(2)), isGood: true,
        at: Timestamp(seconds: second), .init())
    }
    let text = PrometheusText.render(
      [.init(target: "10.0.0.1:80", name: "a\"b", history: history)],
      now: Timestamp(seconds: 5))
    let lines = text.split(separator: "\n").map(String.init)
    let label = #"target="10.0.0.1:80",name="a\"b""#
    for line in [
      "# TYPE upclose_port_up gauge", "upclose_port_up{\(label)} 1",
      "upclose_port_checks_total{\(label),outcome=\"open\"} 3",
      "upclose_port_connect_time_seconds_count{\(label)} 3",
      "upclose_port_flaps_total{\(label)} 0",
      "upclose_port_last_check_timestamp_seconds{\(label)} 2",
      "upclose_sweep_written_timestamp_seconds 5",
    ] {
      #expect(lines.contains(line), "\(line) is missing in\n\(text)")
    }
    #expect(text.hasSuffix("\n"))
    #expect(Set(lines).count == lines.count)
  }

  @Test func `a unit quotes what systemd would read otherwise`() {
    let text = UnitText.render(
      program: "/usr/bin/upclose", arguments: ["sweep", "a:1", "--http", "/x y%$\""], every: 5,
      writable: ["/var/lib"])
    #expect(
      text.contains(#"ExecStart=/usr/bin/upclose sweep a:1 --http "/x y%%$$\"""#))
    #expect(text.contains("OnUnitInactiveSec=5\n"))
    #expect(text.contains("ReadWritePaths=/var/lib\n"))
    #expect(text.contains("SuccessExitStatus=1\n"))
  }
}
