import Evidence
import Testing

@testable import NginxProbe

/// A log of an outage: the first failures of each kind are told, and every one is counted.
@Suite struct FailureSieveTests {
  let directory: TemporaryDirectory
  var options = LogOptions(host: "test", zone: .fixed(secondsEast: 0))

  init() throws {
    directory = try TemporaryDirectory()
    options.onlyUpstreamFailures = true
  }

  static let resets = "recv() failed (104: Connection reset by peer)"
  static let header = " while reading response header from upstream"

  func failure(_ message: String, second: Int, peer: Int, path: String = "/a") -> String {
    let two = { (number: Int) in number < 10 ? "0\(number)" : "\(number)" }
    let time = "10:\(two(second / 60)):\(two(second % 60))"
    return "2026/11/24 \(time) [error] 4#4: *\(second) \(message)\(Self.header), "
      + "client: 192.0.2.7, server: s, request: \"GET \(path) HTTP/1.1\", upstream: "
      + "\"http://10.0.1.\(peer):80\(path)\", host: \"h\"\n"
  }

  func read(_ keepsAll: Bool = false) throws -> (
    told: [NginxMessage: Int], counted: [NginxErrorCount], counters: Counters
  ) {
    let log = try ErrorLogFile(directory["error.log"], options: options)
    log.keepsAll = keepsAll
    var told: [NginxMessage: Int] = [:]
    var counted: [NginxErrorCount] = []
    while let observation = try log.next() {
      switch observation.fact {
      case .nginxLine(let line): told[line.message, default: 0] += 1
      case .nginxErrorCount(let count): counted.append(count)
      default: Issue.record("unexpected \(observation)")
      }
    }
    return (told, counted, log.counters)
  }

  @Test func `a crowd is told in part and counted in full, by kind and peer`() throws {
    var text = ""
    for number in 0..<3000 {
      text += failure(Self.resets, second: 100 + number / 1000, peer: number % 2)
      // Odd bytes keep it from the quick way: it counts the same.
      text += failure(Self.resets, second: 100 + number / 1000, peer: 2, path: "/%20")
    }
    text += failure("upstream prematurely closed connection", second: 110, peer: 1)
    text += "2026/11/24 10:02:00 [warn] 4#4: *9 upstream server temporarily disabled while reading "
    text += "response header from upstream, client: 192.0.2.7, server: s, "
    text += "request: \"GET / HTTP/1.1\", upstream: \"http://10.0.1.1:80/\", host: \"h\"\n"
    text += "2026/11/24 10:02:00 [notice] 4#4: exiting\n"
    try directory.write("error.log", text)
    let result = try read()
    #expect(result.told == [.recvFailed: 1500, .prematurelyClosed: 1, .temporarilyDisabled: 1])
    let counts = result.counted.map { count in
      "\(count.message) \(count.upstream?.description ?? "-") \(count.count)"
    }
    #expect(
      counts.sorted() == [
        "recvFailed 10.0.1.0:80 1000", "recvFailed 10.0.1.1:80 1000", "recvFailed 10.0.1.2:80 2500",
      ])
    let last = Timestamp(year: 2026, month: 11, day: 24, hour: 10, minute: 1, second: 42)
    #expect(result.counted.allSatisfy { $0.last == last && $0.first < last })
    #expect(result.counters.seen == 6003)
    #expect(result.counters.details["counted only"] == 4500)
    #expect(result.counters.details["no upstream failures"] == 1)
    // With packets beside them all are told.
    #expect(try read(true).told[.recvFailed] == 6000)
  }

  @Test func `a slow trickle is told in full, and a long flood in all of its time`() throws {
    let trickle = (0..<250).map { failure(Self.resets, second: $0 * 12, peer: 1) }
    let flood = (0..<3000).flatMap { second in
      (0..<5).map { _ in failure(Self.resets, second: second, peer: 2) }
    }
    try directory.write("error.log", trickle.joined())
    #expect(try read().told[.recvFailed] == 250)
    try directory.write("error.log", flood.joined())
    let result = try read()
    // 500 at once, and one for each ten seconds.
    #expect(result.told[.recvFailed] == 799)
    #expect(result.counted.map(\.count) == [15_000 - 799])
  }
}
