import Evidence
import Testing

@testable import NginxProbe

/// The line in an entry of a log in UTC.
func parse(
  _ entry: String, keepsQueryStrings: Bool = false, threshold: LogLevel = .debug,
  sourceLocation: SourceLocation = #_sourceLocation
) throws -> NginxLine {
  var parser = ErrorLogParser(
    zone: .fixed(secondsEast: 0), keepsQueryStrings: keepsQueryStrings, threshold: threshold)
  guard case .line(let line) = parser.parse(Array(entry.utf8)) else {
    Issue.record("no line: \(entry)", sourceLocation: sourceLocation)
    throw NotALine()
  }
  return line
}

struct NotALine: Error {}

/// An entry of worker 4711, connection 12, with the usual fields.
func entry(
  _ message: String, level: String = "error", while action: String? = nil,
  upstream: String? = "http://127.0.0.1:19001/r"
) -> String {
  "2026/11/24 10:01:02 [\(level)] 4711#4711: *12 \(message)"
    + (action.map { " while \($0)" } ?? "")
    + ", client: 192.0.2.7, server: example.org, request: \"GET /r HTTP/1.1\""
    + (upstream.map { ", upstream: \"\($0)\"" } ?? "") + ", host: \"example.org\""
}
