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
}
