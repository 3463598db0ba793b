import Evidence
import NginxProbe

/// Reads a log as `upclose replay` does, and says what was in it: the readers' speed alone.
///
///     log-reader error FILE | lines FILE | access FILE
@main
enum LogReader {
  static func main() throws {
    let words = CommandLine.arguments
    guard words.count == 3 else { return print("usage: log-reader error|lines|access FILE") }
    switch words[1] {
    case "access": try access(words[2])
    // Every upstream failure as an observation, as a session takes it.
    case "lines": try lines(words[2])
    // Every entry's fields as ranges of its bytes: kinds, workers and upstreams are counted.
    default: try error(words[2])
    }
  }

  private static func access(_ path: String) throws {
    let log = try AccessLogFile(
      path, formats: [.recommended, .combined, .upstreamLists],
      options: LogOptions(zone: .fixed(secondsEast: 0)))
    var requests = 0
    while let observation = try log.next() {
      if case .upstreamTraffic(let traffic) = observation.fact {
        print(traffic.upstream, traffic.tries, traffic.failures, traffic.responseTime?.p99 ?? 0)
      } else {
        requests += 1
      }
    }
    print(log.counters.seen, "lines,", requests, "that matter,", log.counters.details)
  }

  private static func lines(_ path: String) throws {
    var options = LogOptions(zone: .fixed(secondsEast: 0))
    options.onlyUpstreamFailures = true
    let log = try ErrorLogFile(path, options: options)
    var failures = 0
    while try log.next() != nil { failures += 1 }
    print(log.counters.seen, "lines,", failures, "upstream failures,", log.counters.details)
  }

  private static func error(_ path: String) throws {
    let log = try ErrorLogFile(path, options: LogOptions(zone: .fixed(secondsEast: 0)))
    let census = try log.census()
    for (message, count) in census.messages.sorted(by: { $0.value > $1.value }) {
      print(message, count)
    }
    print(log.counters.seen, "lines,", census.upstreams.count, "upstreams")
  }
}
