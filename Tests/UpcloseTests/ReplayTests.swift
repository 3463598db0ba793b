import Foundation
import Testing

@Suite struct ReplayTests {
  @Test func `a replay lasts as long as its files, whenever it is run`() throws {
    let scratch = try Scratch()
    let line =
      "2024/03/01 10:00:0%d [error] 7#7: *1 no live upstreams while connecting to upstream, "
      + "client: 1.2.3.4, server: x, request: \"GET / HTTP/1.1\", upstream: \"http://pair/\"\n"
    let log = [1, 4].map { line.replacingOccurrences(of: "%d", with: "\($0)") }.joined()
    let errors = try scratch.write("error.log", log.utf8)
    let configuration = try scratch.write(
      "nginx.conf", "events {}\nhttp { upstream pair { server 10.0.0.1:80; } }\n".utf8)
    let outcome = try Program.upclose(
      "replay", "--nginx-config", configuration, "--error-log", errors, "--time-zone", "Z",
      "--format", "json")
    #expect(outcome.status == 1)
    let document = try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.out.utf8)) as? [String: Any])
    let bounds = ["started", "ended"].compactMap { (document[$0] as? String)?.prefix(17) }
    #expect(bounds == ["2024-03-01T10:00:", "2024-03-01T10:00:"])
  }

  private func refused(_ second: Int, peer: Int, connection: Int) -> String {
    let time = String(format: "10:%02d:%02d", second / 60, second % 60)
    return "2026/03/01 \(time) [error] 7#7: *\(connection) connect() failed "
      + "(111: Connection refused) while connecting to upstream, client: 1.2.3.4, server: x, request: \"GET / HTTP/1.1\", "
      + "upstream: \"http://10.0.0.\(peer):80/\", host: \"h\"\n"
  }

  private func replay(_ arguments: [String]) throws -> [String: Any] {
    let outcome = try Program.run(
      Program.upclose, ["replay", "--time-zone", "Z", "--format", "json"] + arguments)
    #expect(outcome.status == 1, "\(outcome.err)")
    return try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.out.utf8)) as? [String: Any])
  }

  @Test func `rotated logs are merged by their time, in whatever order they are given`() throws {
    let scratch = try Scratch()
    let older = try scratch.write(
      "error.log.1", (0..<40).map { refused($0, peer: 1, connection: $0) }.joined().utf8)
    let newer = try scratch.write(
      "error.log", (40..<80).map { refused($0, peer: 2, connection: $0) }.joined().utf8)
    let document = try replay(["--error-log", newer, "--error-log", older])
    let incidents = try #require(document["incidents"] as? [[String: Any]])
    let times = incidents.compactMap { $0["time"] as? String }
    #expect(times.count == 80 && times == times.sorted())
    let books = try #require(document["books"] as? [String: Any])
    let sources = try #require(books["sources"] as? [[String: Any]])
    #expect(sources.first { $0["source"] as? String == "errors" }?["seen"] as? Int == 80)
  }

  @Test func `a log of an outage is counted to its last line`() throws {
    let scratch = try Scratch()
    let log = try scratch.write(
      "error.log",
      (0..<12_000).map { refused($0 / 100, peer: $0 % 3, connection: $0) }.joined().utf8)
    let document = try replay(["--error-log", log])
    let books = try #require(document["books"] as? [String: Any])
    #expect(books["errors"] as? Int == 12_000)
    let reasons = try #require(books["unmatched_because"] as? [String: Int])
    #expect(reasons.values.reduce(0, +) == 12_000)
    #expect(reasons["too many alike, only counted"] ?? 0 > 10_000)
    let upstreams = try #require(document["upstreams"] as? [[String: Any]])
    #expect(upstreams.compactMap { $0["errors"] as? Int } == [4000, 4000, 4000])
  }
}
