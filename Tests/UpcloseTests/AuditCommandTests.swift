import Foundation
import Testing

/// `audit`, `doctor` and the access log of `replay`, as their user runs them.
@Suite struct AuditCommandTests {
  private static let bad = """
    events {}
    http {
      upstream app { server 10.0.0.1:80; server 10.0.0.2:80; keepalive 8; }
      server { listen 80; location / { proxy_pass http://app; } }
    }
    """

  private func json(_ text: String) throws -> [String: Any] {
    try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  @Test func `findings make exit code 1, in every format`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("nginx.conf", Self.bad.utf8)
    let text = try Program.upclose("audit", file, "--nginx-version", "1.22.1")
    #expect(text.status == 1)
    #expect(text.out.contains("\(file):3: warning: nginx keeps idle connections of upstream app"))
    let json = try json(try Program.upclose("audit", file, "--format", "json").out)
    let audits = try #require(json["audits"] as? [[String: Any]])
    let findings = try #require(audits.first?["findings"] as? [[String: Any]])
    #expect(findings.contains { $0["rule"] as? String == "keepalive-timeout" })
    let sarif = try self.json(try Program.upclose("audit", file, "--format", "sarif").out)
    #expect(sarif["version"] as? String == "2.1.0")
    let runs = try #require(sarif["runs"] as? [[String: Any]])
    let results = try #require(runs.first?["results"] as? [[String: Any]])
    #expect(results.count == findings.count)
  }

  @Test func `a session's measurement decides`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("nginx.conf", Self.bad.utf8)
    let session = try scratch.write(
      "session.json",
      #"""
      {"upstreams":[{"upstream":"10.0.0.1:80","causes":{},
      "idle_timeout":{"value":5.0,"spread":0.01,"count":9}}]}
      """#.utf8)
    let text = try Program.upclose("audit", file, "--session", session)
    #expect(text.out.contains("the backend was seen to close them after 5.00 s"))
    let none = try Program.upclose("audit", file, "--session", file)
    #expect(none.status == 2)
    #expect(none.err.contains(file))
  }

  @Test func `a broken configuration is named with its line`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("nginx.conf", "events {}\nhttp {\n".utf8)
    let outcome = try Program.upclose("audit", file)
    #expect(outcome.status == 2)
    #expect(outcome.err.contains("\(file):2"))
  }

  @Test func `doctor prints the format that lacks nothing`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("nginx.conf", Self.bad.utf8)
    let outcome = try Program.upclose("doctor", "--nginx-config", file)
    #expect(outcome.status == 1)
    #expect(outcome.out.contains("log_format upclose '$msec $pid $connection"))
    #expect(outcome.out.contains("$upstream_addr: which backends were tried"))
  }

  @Test func `replay joins the access log's line to its error`() throws {
    let scratch = try Scratch()
    let error =
      "2026/11/24 10:01:02 [error] 7#7: *12 recv() failed (104: Connection reset by peer) while reading "
      + "response header from upstream, client: 192.0.2.7, server: x, request: \"POST /a HTTP/1.1\", "
      + "upstream: \"http://10.0.0.1:80/a\", host: \"x\"\n"
    let access =
      "1795514462.512 7 12 1 192.0.2.7 502 [10.0.0.1:80] [502] [0.000] [-] [0.002] [43] [0] - 157 120 "
      + "0.003 \"POST /a HTTP/1.1\"\n"
    let errors = try scratch.write("error.log", error.utf8)
    let requests = try scratch.write("access.log", access.utf8)
    let outcome = try Program.upclose(
      "replay", "--error-log", errors, "--access-log", requests, "--time-zone", "+00:00",
      "--format", "ndjson")
    #expect(outcome.status == 1)
    let line = try #require(outcome.out.split(separator: "\n").last)
    let incident = try json(String(line))
    #expect(incident["client_status"] as? Int == 502)
    #expect(incident["retried"] as? Bool == false)
    let aftermath = try #require(incident["aftermath"] as? [String: Any])
    #expect(
      aftermath["not_retried_because"] as? String
        == "POST is not sent twice (proxy_next_upstream without non_idempotent)")
  }
}
