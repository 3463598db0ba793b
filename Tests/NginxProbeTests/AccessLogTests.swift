import Evidence
import LinuxHost
import Testing

@testable import NginxProbe

@Suite struct AccessLogTests {
  private static let utc = LogZone.fixed(secondsEast: 0)

  func format(_ directive: String) throws -> AccessLogFormat {
    try #require(AccessLogFormat(try NginxConfiguration.directives(ofOption: directive)[0]))
  }

  func parse(_ format: AccessLogFormat, _ line: String) throws -> NginxRequest? {
    var parser = try AccessLogParser(format, zone: Self.utc)
    switch parser.parse(Array(line.utf8)) {
    case .request(let request, _): return request
    case .ordinary: return nil
    case .malformed:
      Issue.record("not of the format: \(line)")
      throw NotALine()
    }
  }

  func peer(_ text: String) -> UpstreamPeer? { UpstreamPeer(text) }

  static let line =
    "1795514462.012 4711 12 3 192.0.2.7 200 [10.0.0.1:80, 10.0.0.2:80] [502, 200] [0.000, 0.001] "
    + "[-, 0.020] [0.002, 0.021] [43, 43] [0, 512] 400 400 120 0.023 \"GET /a?secret=1 HTTP/1.1\""

  @Test func `the recommended format gives every field of every try`() throws {
    var parser = try AccessLogParser(.recommended, zone: Self.utc)
    guard case .request(let request, let time) = parser.parse(Array(Self.line.utf8)) else {
      Issue.record("no request")
      return
    }
    #expect(
      request
        == NginxRequest(
          status: 200, worker: 4711, connection: 12, connectionRequests: 3, client: "192.0.2.7",
          request: "GET /a HTTP/1.1", bodyBytesSent: 400, contentLength: 400,
          duration: .milliseconds(23),
          tries: [
            UpstreamTry(
              peer: peer("10.0.0.1:80"), status: 502, connectTime: .zero, headerTime: nil,
              responseTime: .milliseconds(2), bytesSent: 43, bytesReceived: 0),
            UpstreamTry(
              peer: peer("10.0.0.2:80"), status: 200, connectTime: .milliseconds(1),
              headerTime: .milliseconds(20), responseTime: .milliseconds(21), bytesSent: 43,
              bytesReceived: 512),
          ]))
    #expect(time.best == Timestamp(seconds: 1_795_514_462, nanoseconds: 12_000_000))
    let traffic = parser.traffic
    #expect(traffic.map(\.upstream) == [peer("10.0.0.1:80"), peer("10.0.0.2:80")])
    #expect(traffic.map(\.failures) == [1, 0])
    #expect(traffic.map(\.hidden) == [1, 0])
    #expect(traffic[0].failedRequestBytes?.largest == 120)
    #expect(traffic[1].succeededRequestBytes?.largest == 120)
  }

  @Test(arguments: [
    // A list that is not quoted, ended by the space that it also holds.
    "log_format x '$upstream_addr $upstream_status $status $pid';",
    "log_format x \"$upstream_addr,$upstream_status,$status,$pid\";",
    "log_format x '\"$upstream_addr\" us=${upstream_status} $status ' '$pid';",
    #"log_format x escape=json '{"a":"$upstream_addr","s":"$upstream_status","c":$status,"p":$pid}';"#,
    "log_format x escape=none '[$upstream_addr] ($upstream_status) $status $pid end';",
  ])
  func `several tries, and an internal redirect, in any format`(directive: String) throws {
    let format = try format(directive)
    let values = [
      "upstream_addr": "10.0.0.1:80, unix:/run/a.sock : 10.0.0.2:81",
      "upstream_status": "502, 504 : 200",
      "status": "200", "pid": "7",
    ]
    let line = format.elements.map { element in
      switch element {
      case .literal(let bytes): String(decoding: bytes, as: UTF8.self)
      case .variable(let name): values[name] ?? "-"
      }
    }.joined()
    let request = try #require(try parse(format, line))
    #expect(request.status == 200)
    #expect(request.worker == 7)
    #expect(
      request.tries == [
        UpstreamTry(peer: peer("10.0.0.1:80"), status: 502),
        UpstreamTry(peer: peer("unix:/run/a.sock"), status: 504),
        UpstreamTry(peer: peer("10.0.0.2:81"), status: 200, followsRedirect: true),
      ])
  }

  @Test(arguments: [
    ("499", "-", "400", "-", true), ("000", "-", "-", "0", true), ("009", "200", "-", "5", true),
    ("502", "502", "157", "157", true), ("504", "504", "167", "167", true),
    ("200", "200", "400", "40", true), ("200", "200", "400", "400", false),
    ("200", "200", "-", "40", false), ("304", "304", "400", "0", false),
    ("500", "500", "9", "9", false),
  ])
  func `which requests matter`(
    status: String, upstreamStatus: String, length: String, body: String, matters: Bool
  ) throws {
    let line =
      "1795514462.012 1 1 1 192.0.2.7 \(status) [10.0.0.1:80] [\(upstreamStatus)] [0.000] [-] [0.002] "
      + "[43] [0] \(length) \(body) 120 0.023 \"GET / HTTP/1.1\""
    let request = try parse(.recommended, line)
    #expect((request != nil) == matters)
    if status == "200", matters { #expect(request?.isCut == true) }
  }

  @Test func `a response to HEAD is not cut`() throws {
    let line = Self.line.replacing("400 400", with: "400 0").replacing("[502, 200]", with: "[200]")
      .replacing("10.0.0.1:80, ", with: "").replacing("GET", with: "HEAD")
    #expect(try parse(.recommended, line) == nil)
  }

  @Test func `a URI cannot forge what follows it`() throws {
    let format = try format(
      #"log_format x '"$request" $status [$upstream_addr] [$upstream_status]';"#)
    let request = try #require(
      try parse(format, #""GET /\x22 200 [1.1.1.1:1] [200]\x1B HTTP/1.1" 502 [10.0.0.1:80] [502]"#))
    #expect(request.status == 502)
    #expect(request.tries.map(\.peer) == [peer("10.0.0.1:80")])
    let json = try self.format(
      #"log_format x escape=json '{"r":"$request","s":$status,"a":"$upstream_addr","u":"$upstream_status"}';"#
    )
    let other = try #require(
      try parse(
        json, #"{"r":"GET /\",\"s\":200\\","s":504,"a":"10.0.0.1:80","u":"504"}"#))
    #expect(other.status == 504)
    #expect(other.request == #"GET /\",\"s\":200\\"#)
  }

  @Test func `times of other formats`() throws {
    let local = try format("log_format x '[$time_local] $status $upstream_addr';")
    var parser = try AccessLogParser(local, zone: Self.utc)
    guard
      case .request(_, let time) = parser.parse(
        Array("[24/Nov/2026:10:01:02 +0130] 502 10.0.0.1:80".utf8))
    else { throw NotALine() }
    #expect(time.earliest == Timestamp(iso8601: "2026-11-24T08:31:02Z"))
    let iso = try format("log_format x '$time_iso8601 $status $upstream_addr';")
    parser = try AccessLogParser(iso, zone: Self.utc)
    guard
      case .request(_, let other) = parser.parse(
        Array("2026-11-24T10:01:02+01:00 502 10.0.0.1:80".utf8))
    else { throw NotALine() }
    #expect(other.earliest == Timestamp(iso8601: "2026-11-24T09:01:02Z"))
  }

  @Test(arguments: ["", "x", "\"", "1795514462.012 4711 12", "a b c d e f g h i j k l m n o p q"])
  func `garbage is no request`(line: String) throws {
    var parser = try AccessLogParser(.recommended, zone: Self.utc)
    #expect(parser.parse(Array(line.utf8)) == .malformed)
  }

  @Test func `two variables side by side cannot be told apart`() throws {
    let format = try format("log_format x '$status$upstream_addr';")
    #expect(throws: ConfigurationError.self) { try AccessLogParser(format) }
  }

  @Test func `a file is read in the format that fits it, gzip or not`() throws {
    let directory = try TemporaryDirectory()
    let ordinary = Self.line.replacing("[502, 200]", with: "[200]")
      .replacing("10.0.0.1:80, ", with: "")
    let text = (0..<5000).map { $0 % 1000 == 7 ? Self.line : ordinary }.joined(separator: "\n")
    try directory.write("access.log", text + "\ngarbage")
    _ = try runCommand("/bin/gzip", ["gzip", "-k", directory["access.log"]])
    for name in ["access.log", "access.log.gz"] {
      let log = try AccessLogFile(
        directory[name], formats: [.combined, .recommended], options: LogOptions(zone: Self.utc))
      var requests = 0
      var traffic: [UpstreamTraffic] = []
      while let observation = try log.next() {
        switch observation.fact {
        case .nginxRequest: requests += 1
        case .upstreamTraffic(let one): traffic.append(one)
        default: Issue.record("not of an access log")
        }
      }
      #expect(log.format?.name == "upclose")
      #expect(requests == 5)
      #expect(traffic.map(\.tries) == [5000, 5])
      #expect(
        log.counters
          == Counters(
            source: "requests", seen: 5001, lost: 0, details: ["not parsed": 1, "reported": 5]))
    }
  }

  @Test func `a compressed error log, cut short, says so after its lines`() throws {
    let directory = try TemporaryDirectory()
    try directory.write("e.log", String(repeating: entry("recv() failed") + "\n", count: 30_000))
    _ = try runCommand("/bin/gzip", ["gzip", directory["e.log"]])
    let all = try ErrorLogFile(directory["e.log.gz"], options: LogOptions())
    var count = 0
    while try all.next() != nil { count += 1 }
    #expect(count == 30_000)
    let bytes = try readFile(directory["e.log.gz"])
    try directory.write("cut.gz", bytes: Array(bytes.prefix(bytes.count / 2)))
    let cut = try ErrorLogFile(directory["cut.gz"], options: LogOptions())
    count = 0
    #expect(throws: ProbeError.self) { while try cut.next() != nil { count += 1 } }
    #expect(count > 1000)
    #expect(count < 30_000)
  }
}
