import Evidence
import Glibc
import Testing

@testable import NginxProbe

/// Serialized: the zone of a process is one.
@Suite(.serialized) struct LogClockTests {
  func civil(_ text: String) throws -> CivilTime {
    guard let time = CivilTime(Array(text.utf8).span) else { throw NotALine() }
    return time
  }

  func inZone(_ zone: String, _ body: () throws -> Void) rethrows {
    let old = getenv("TZ").map { String(cString: $0) }
    setenv("TZ", zone, 1)
    tzset()
    defer {
      if let old { setenv("TZ", old, 1) } else { unsetenv("TZ") }
      tzset()
    }
    try body()
  }

  func expect(_ clock: inout LogClock, _ shown: String, _ moment: String) throws {
    let result = clock.moment(try civil(shown)).iso8601(digits: 0)
    #expect(result == moment)
  }

  @Test func `a given offset`() throws {
    var clock = LogClock(.fixed(secondsEast: 3600))
    let moment = clock.moment(try civil("2026/11/24 10:01:02"))
    #expect(moment.iso8601(digits: 0) == "2026-11-24T09:01:02Z")
  }

  @Test(arguments: [
    ("host", LogZone.host), ("UTC", .fixed(secondsEast: 0)), ("+01:00", .fixed(secondsEast: 3600)),
    ("-0330", .fixed(secondsEast: -12_600)), ("+2", .fixed(secondsEast: 7200)), ("", nil),
    ("+", nil), ("+123", nil), ("+99", nil), ("CET", nil), ("+1:x", nil), ("+٣", nil),
  ])
  func `a zone as a user writes it`(text: String, zone: LogZone?) {
    #expect(LogZone(text) == zone)
    if let zone { #expect(LogZone(zone.description) == zone) }
  }

  @Test func `the host's zone in summer and in winter`() throws {
    try inZone("CET-1CEST,M3.5.0,M10.5.0/3") {
      var clock = LogClock(.host)
      try expect(&clock, "2026/07/01 12:00:00", "2026-07-01T10:00:00Z")
      try expect(&clock, "2026/12/01 12:00:00", "2026-12-01T11:00:00Z")
    }
  }

  @Test func `a half hour east, and one west`() throws {
    try inZone("IST-5:30") {
      var clock = LogClock(.host)
      try expect(&clock, "2026/07/01 12:00:00", "2026-07-01T06:30:00Z")
    }
    try inZone("NST3:30") {
      var clock = LogClock(.host)
      try expect(&clock, "2026/07/01 12:00:00", "2026-07-01T15:30:00Z")
    }
  }

  /// On 2026-10-25 at 03:00 CEST the clocks go back to 02:00 CET.
  @Test func `the hour that repeats`() throws {
    try inZone("CET-1CEST,M3.5.0,M10.5.0/3") {
      var file = LogClock(.host)
      let times = ["01:59:59", "02:30:00", "02:59:59", "02:00:01", "02:30:00", "03:00:00"]
      let moments = try times.map {
        file.moment(try civil("2026/10/25 \($0)")).iso8601(digits: 0).dropFirst(11)
      }
      #expect(
        moments == ["23:59:59Z", "00:30:00Z", "00:59:59Z", "01:00:01Z", "01:30:00Z", "02:00:00Z"])
      var live = LogClock(.host)
      for hour in [0, 1] {
        let now = Timestamp(
          year: 2026, month: 10, day: 25, hour: hour, minute: 30, second: 0, nanoseconds: 400)
        let moment = live.moment(try civil("2026/10/25 02:30:00"), arrival: now)
        #expect(now - moment == TimeSpan(nanoseconds: 400))
      }
    }
  }

  /// On 2026-03-29 at 02:00 CET they go forward to 03:00 CEST.
  @Test func `the hour that is skipped`() throws {
    try inZone("CET-1CEST,M3.5.0,M10.5.0/3") {
      var clock = LogClock(.host)
      let moment = clock.moment(try civil("2026/03/29 02:30:00"))
      #expect(moment.iso8601(digits: 0) == "2026-03-29T01:30:00Z")
    }
  }
}
