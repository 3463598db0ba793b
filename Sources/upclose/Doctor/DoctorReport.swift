import LinuxHost
import Report

/// What `doctor` found, as a table for people or a document for programs.
struct DoctorReport {
  var checks: [SourceCheck]
  /// The lines about each nginx.
  var nginx: [[String]]
  /// The log_format to write, if one is to be written.
  var advice: [String]
  var isComplete: Bool

  var text: String {
    var lines: [String] = []
    if !checks.isEmpty {
      let width = (checks.map(\.source.count).max() ?? 0) + 2
      func row(_ source: String, _ state: String, _ text: String) -> String {
        source + String(repeating: " ", count: max(1, width - source.count)) + state
          + String(repeating: " ", count: max(1, 8 - state.count)) + text
      }
      let indent = String(repeating: " ", count: width + 8)
      lines.append(row("SOURCE", "SEEN", "WHAT"))
      for check in checks {
        lines.append(row(check.source, check.state.rawValue, check.detail))
        guard !check.isComplete else { continue }
        if let cost = check.cost { lines.append("\(indent)costs: \(cost)") }
        if let remedy = check.remedy { lines.append("\(indent)do: \(remedy)") }
      }
    }
    for part in nginx + [advice] where !part.isEmpty {
      if !lines.isEmpty { lines.append("") }
      lines += part
    }
    return lines.joined(separator: "\n") + "\n"
  }

  var json: String {
    func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
    let sources = checks.map { check in
      JSONValue.object([
        ("source", .string(check.source)), ("state", .string(check.state.rawValue)),
        ("detail", .string(check.detail)),
        ("cost", check.isComplete ? .null : optional(check.cost)),
        ("remedy", check.isComplete ? .null : optional(check.remedy)),
      ])
    }
    let document = JSONValue.object([
      ("host", .string(hostName())), ("complete", .bool(isComplete)),
      ("sources", .array(sources)),
      ("nginx", .array(nginx.map { .array($0.map { .string($0) }) })),
      ("log_format", advice.isEmpty ? .null : .string(advice.joined(separator: "\n"))),
    ])
    return document.pretty + "\n"
  }
}
