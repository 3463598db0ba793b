import Evidence
import Testing

@testable import BackendProbe

private func stamp(_ line: String, offset: Int = 0, reference: String? = nil) -> LineStamp? {
  LineStamp.find(
    Array(line.utf8)[...],
    LineStamp.Context(
      utcOffset: offset, reference: reference.flatMap { Timestamp(iso8601: $0) }))
}

@Suite struct LineTests {
  @Test(arguments: [
    ("[2026-11-24 07:41:16 +0000] [3080] [INFO] x", "2026-11-24T07:41:16Z", true),
    ("[2026-11-24 07:41:16 +0100] [3080] [INFO] x", "2026-11-24T06:41:16Z", true),
    ("2026-11-24T13:48:13.123456Z app[1]: x", "2026-11-24T13:48:13.123456Z", false),
    ("2026/11/24 13:48:13 http: panic serving 1.2.3.4:5: x", "2026-11-24T13:48:13Z", true),
    ("[24-Nov-2026 13:48:13] WARNING: x", "2026-11-24T13:48:13Z", true),
    ("24-Nov-2026 13:48:13.512 SEVERE [main] x", "2026-11-24T13:48:13.512Z", false),
    ("[Tue Nov 24 13:48:13.123456 2026] [core:notice] x", "2026-11-24T13:48:13.123456Z", false),
    ("Tue Nov  4 13:48:13 2026 - *** HARAKIRI", "2026-11-04T13:48:13Z", true),
    ("10.0.0.1:4 [24/Nov/2026:13:48:13.123] web a/b", "2026-11-24T13:48:13.123Z", false),
    ("2026-11-24 13:48:13,512 ERROR x", "2026-11-24T13:48:13.512Z", false),
  ])
  func `the time that a line says`(_ line: String, _ expected: String, _ isWholeSecond: Bool) {
    #expect(stamp(line)?.time == Timestamp(iso8601: expected))
    #expect(stamp(line)?.isWholeSecond == isWholeSecond)
  }

  @Test func `syslog leaves out the year`() {
    let line = "Dec 31 23:59:59 web app[7]: x"
    #expect(stamp(line) == nil)
    #expect(
      stamp(line, reference: "2027-01-02T00:00:00Z")?.time
        == Timestamp(iso8601: "2026-12-31T23:59:59Z"))
  }

  @Test func `local time without a zone is taken from the given offset`() {
    #expect(
      stamp("[24-Nov-2026 13:48:13] NOTICE: x", offset: 3600)?.time
        == Timestamp(iso8601: "2026-11-24T12:48:13Z"))
  }

  @Test(arguments: [
    "", "no time", "99-Xxx-2026 99:99:99", "2026-13-45 77:00:00", "[", "Nov", "2026-11-24 07:41:",
  ])
  func `no time is none`(_ line: String) {
    #expect(stamp(line, reference: "2027-01-02T00:00:00Z") == nil)
  }

  @Test func `what docker, the kubelet and the journal put around a line comes off`() {
    let docker = #"{"log":"panic: boom\n","stream":"stderr","time":"2026-11-24T13:48:13.5Z"}"#
    let opened = Envelope.open(Array(docker.utf8)[...])
    #expect(opened?.text == Array("panic: boom".utf8))
    #expect(opened?.received == Timestamp(iso8601: "2026-11-24T13:48:13.5Z"))
    let cri = Envelope.open(Array("2026-11-24T13:48:13.669794202Z stderr F panic: boom".utf8)[...])
    #expect(cri?.text == Array("panic: boom".utf8))
    #expect(cri?.received == Timestamp(iso8601: "2026-11-24T13:48:13.669794202Z"))
    let journal = Envelope.open(
      Array(
        #"{"MESSAGE":"app.service: Main process exited, code=killed, status=9/KILL","UNIT":"app.service","_SYSTEMD_UNIT":"init.scope","_PID":"1","__REALTIME_TIMESTAMP":"1795528093000000"}"#
          .utf8)[...])
    #expect(journal?.unit == "app.service")
    #expect(journal?.writer == 1)
    #expect(journal?.received == Timestamp(seconds: 1_795_528_093))
    // A program's own JSON stays as it is, and so does one that was cut.
    for text in [#"{"level":"error","msg":"boom"}"#, #"{"log":"x"#] {
      #expect(Envelope.open(Array(text.utf8)[...])?.text == Array(text.utf8))
    }
  }

  @Test(arguments: [
    ("GET /a?token=abc&b=c HTTP/1.1 failed", "GET /a?… HTTP/1.1 failed"),
    ("Perhaps out of memory?", "Perhaps out of memory?"),
    ("Authorization: Bearer abc.def next", "Authorization: … next"),
    ("Cookie: sid=1234; theme=dark", "Cookie: … theme=dark"),
    (#"{"password":"hunter2","user":"x"}"#, #"{"password":…,"user":"x"}"#),
    ("db_password=hunter2 host=x", "db_password=… host=x"),
    ("a\u{1b}[31mred", "a\\x1B[31mred"),
    ("session 42 of user admin", "session 42 of user admin"),
  ])
  func `query strings, secrets and control bytes are not kept`(_ line: String, _ kept: String) {
    #expect(Array(line.utf8).withUnsafeBytes { Redaction.text(of: $0) } == kept)
  }

  @Test func `a long line is cut, at a whole character`() {
    let line = String(repeating: "ä", count: 1000)
    let kept = Array(line.utf8).withUnsafeBytes { Redaction.text(of: $0) }
    #expect(kept == String(repeating: "ä", count: Redaction.longest / 2) + "…")
  }

  @Test func `lines are cut from what is read in any pieces, and an overlong one keeps its start`()
  {
    let long = String(repeating: "x", count: LineCutter.longest + 5)
    let bytes = Array("one\n\ntwo\n\(long)\nlast".utf8)
    for step in [1, 3, 7, bytes.count] {
      var cutter = LineCutter()
      var lines: [String] = []
      var offsets: [UInt64] = []
      var start = 0
      while start < bytes.count {
        let end = min(start + step, bytes.count)
        Array(bytes[start..<end]).withUnsafeBytes { raw in
          cutter.take(raw) {
            lines.append(String(decoding: $0, as: UTF8.self))
            offsets.append($1)
          }
        }
        start = end
      }
      cutter.settle { line, offset in
        lines.append(String(decoding: line, as: UTF8.self))
        offsets.append(offset)
      }
      #expect(lines == ["one", "two", String(long.prefix(LineCutter.longest)), "last"])
      #expect(offsets == [0, 5, 9, UInt64(10 + long.utf8.count)])
    }
  }

  @Test func `a source is a path, with the upstream behind it`() {
    #expect(BackendLogSource(argument: "/a.log")?.path == "/a.log")
    let named = BackendLogSource(argument: "/a.log=10.0.0.1:80")
    #expect(named?.path == "/a.log")
    #expect(named?.upstream == UpstreamPeer("10.0.0.1:80"))
    #expect(BackendLogSource(argument: "/a=b.log")?.path == "/a=b.log")
    #expect(
      BackendLogSource(argument: "/a.log=unix:/run/app.sock")?.upstream == .unix("/run/app.sock"))
    #expect(BackendLogSource(argument: "") == nil)
    #expect(BackendLogSource(argument: "=10.0.0.1:80") == nil)
  }
}
