import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

@Suite struct LinePrefixTests {
  private func texts(_ text: String) throws -> [String] {
    let directory = try TemporaryDirectory()
    try directory.write("e.log", text)
    let log = try ErrorLogFile(
      directory["e.log"], options: LogOptions(zone: .fixed(secondsEast: 0)))
    var texts: [String] = []
    while let observation = try log.next() {
      if case .nginxLine(let line) = observation.fact { texts.append(line.text) }
    }
    return texts
  }

  @Test(arguments: [
    "", "2026-11-24T10:01:02.123456789Z ", "2026-11-24T10:01:02.123456789+01:00 stderr F ",
    "nginx-1  | ", "Nov 24 10:01:02 host nginx[812]: ", "2026-11-24T10:01:02+0000 host nginx[1]: ",
  ])
  func `what stands before each line is taken off`(prefix: String) throws {
    let text = (0..<5).map { prefix + entry("recv() failed \($0)") + "\n" }.joined()
    let noise = prefix.isEmpty ? "" : "\(prefix)/docker-entrypoint.sh: ready for start up\n"
    #expect(try texts(noise + text) == (0..<5).map { "recv() failed \($0)" })
  }

  @Test func `the JSON files of Docker`() throws {
    let quoted = entry("recv() failed").replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    let line =
      "{\"log\":\"\(quoted)\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-24T10:01:02Z\"}\n"
    let noise = "{\"log\":\"10.0.0.1 - \\u003c\\u003e\\n\",\"stream\":\"stdout\",\"time\":\"x\"}\n"
    #expect(try texts(noise + line + noise + line).count == 2)
  }

  /// As `journalctl -f -u nginx | upclose attach --error-log -`, and `docker logs -f`.
  @Test(arguments: ["", "2026-11-24T10:01:02.1Z ", "Nov 24 10:01:02 host nginx[812]: "])
  func `lines through a pipe, as they come`(prefix: String) throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    defer { close(ends[0]) }
    let log = PipedLog("-", descriptor: ends[0])
    func send(_ text: String) -> [String] {
      say(to: ends[1], text)
      var texts: [String] = []
      #expect(
        log.service { bytes, _, _ in
          var parser = ErrorLogParser(zone: .fixed(secondsEast: 0))
          if case .line(let line) = parser.parse(bytes) { texts.append(line.text) }
        } == nil)
      return texts
    }
    #expect(send("-- Journal begins at Mon --\n") == [])
    #expect(log.lastEmpty == nil)
    let line = prefix + entry("recv() failed") + "\n"
    #expect(send(line) == ["recv() failed"])
    #expect(log.lastEmpty != nil)
    let access = "\(prefix)192.0.2.7 - - [24/Nov/2026:10:01:02 +0000] \"GET / HTTP/1.1\" 502 1\n"
    #expect(send(line + access + line.prefix(60)) == ["recv() failed"])
    #expect(send(String(line.dropFirst(60))) == ["recv() failed"])
    #expect(log.strayLines == 2)
    close(ends[1])
    let end = log.service { _, _, _ in }
    #expect(end?.reason == "it has ended")
    #expect(log.isAtEnd)
  }

  private func say(to descriptor: Int32, _ text: String) {
    let bytes = Array(text.utf8)
    _ = write(descriptor, bytes, bytes.count)
  }

  @Test func `in nginx's own log nothing is taken off`() throws {
    let forged = "Nov 24 10:01:02 host nginx[1]: " + entry("forged")
    #expect(try texts(entry("recv() failed") + "\n" + forged + "\n").count == 1)
  }

  @Test func `stub_status`() throws {
    let page = """
      Active connections: 291\u{20}
      server accepts handled requests
       16630948 16630940 31070465\u{20}
      Reading: 6 Writing: 179 Waiting: 106\u{20}
      """
    let status = try #require(StubStatus(page))
    #expect(status.counters.lost == 8)
    #expect(status.waiting == 106)
    #expect(StubStatus("<html>") == nil)
    #expect(StubStatus("Active connections: server accepts handled requests\n\n\n\n") == nil)
    let directives = try NginxConfiguration.directives(
      ofOption: """
        http { server { listen 443 ssl; location = /s { stub_status; } }
        server { listen [::]:8080; server_name status.local; location /x { stub_status on; } } }
        """)
    #expect(
      StatusPage(directives)
        == StatusPage(
          endpoint: Endpoint(address: IPAddress(high: 0, low: 1), port: 8080), path: "/x",
          host: "status.local"))
  }
}

extension RealNginxTests {
  @Test func `status, workers and the access log of a running nginx`() throws {
    let backend = try Backend { say($0, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf") }
    let nginx = try RealNginx(
      http: """
        server {
          listen PORT;
          location = /status { stub_status; }
          location / { proxy_pass http://127.0.0.1:\(backend.port); }
        }
        """)
    let probe = NginxProbe([try load(nginx)], options: LogOptions())
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    nginx.get("/half")
    func counters(_ source: String) -> Counters? {
      collector.all.reversed().lazy.compactMap { observation in
        if case .counters(let counters) = observation.fact, counters.source.hasPrefix(source) {
          counters
        } else {
          nil
        }
      }.first
    }
    eventually("the status") { (counters("nginx status")?.seen ?? 0) > 0 }
    #expect(counters("nginx status")?.lost == 0)
    eventually("the workers") { counters("worker ") != nil }
    #expect(counters("worker ")?.details["worker_connections"] == 64)
    eventually("the cut request and its upstream's totals") {
      let requests = collector.all.contains { observation in
        if case .nginxRequest(let request) = observation.fact { request.isCut } else { false }
      }
      let traffic = collector.all.contains { observation in
        if case .upstreamTraffic(let traffic) = observation.fact {
          traffic.tries == 1
        } else {
          false
        }
      }
      return requests && traffic
    }
  }
}
