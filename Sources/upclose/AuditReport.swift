import Evidence
import NginxProbe
import Report

/// What an audit found in one configuration.
struct AuditResult {
  var loaded: LoadedNginx
  var findings: [AuditFinding]

  /// Those that bear on the configuration; what a session could not watch is none of an audit's.
  var blindSpots: [BlindSpot] { loaded.blindSpots.filter { $0.id.hasPrefix("nginx-") } }

  /// As `nginx 1.22.1, master 4711, /etc/nginx/nginx.conf`.
  var title: String {
    var words = ["nginx"]
    if let version = loaded.instance.version { words[0] += " \(version)" }
    if let master = loaded.instance.master { words.append("master \(master)") }
    if let path = loaded.instance.configurationPath {
      words.append(String(escapingControlsIn: path.utf8))
    }
    return words.joined(separator: ", ")
  }
}

/// The forms of an audit.
enum AuditReport {
  private static func number(_ count: Int, _ thing: String) -> String {
    "\(count) \(thing)\(count == 1 ? "" : "s")"
  }

  static func text(_ results: [AuditResult], isColored: Bool) -> String {
    func styled(_ text: String, _ code: String) -> String {
      isColored ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
    }
    var lines: [String] = []
    for result in results {
      let passes = result.loaded.settings.upstreams.count
      lines.append(
        "\(styled(result.title, "1")): \(Self.number(result.loaded.files.count, "file")), "
          + Self.number(passes, "upstream"))
      for finding in result.findings {
        let color = finding.severity == .note ? "36" : finding.severity == .warning ? "33" : "31"
        lines.append("")
        lines.append(
          "\(finding.location): \(styled(finding.severity.name, color)): \(finding.message) "
            + "[\(finding.rule)]")
        if !finding.also.isEmpty {
          lines.append("  also: \(finding.also.joined(separator: ", "))")
        }
        lines.append("  leads to: \(finding.leadsTo)")
        let fix = finding.fix.text.split(separator: "\n", omittingEmptySubsequences: false)
        lines.append("  write (\(finding.fix.place)):")
        lines += fix.map { "      \($0)" }
        lines.append("  trade-off: \(finding.fix.tradeOff)")
      }
      for spot in result.blindSpots {
        lines.append("")
        lines.append("not seen: \(spot.what): \(spot.cost)" + (spot.remedy.map { "; \($0)" } ?? ""))
      }
      lines.append("")
      lines.append(count(result.findings))
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func count(_ findings: [AuditFinding]) -> String {
    func number(_ severity: AuditFinding.Severity) -> String {
      let count = findings.count { $0.severity == severity }
      return "\(count) \(severity.name)\(count == 1 ? "" : "s")"
    }
    return [number(.error), number(.warning), number(.note)].joined(separator: ", ")
  }

  static func json(_ results: [AuditResult]) -> JSONValue {
    .object([
      (
        "audits",
        .array(
          results.map { result in
            .object([
              ("nginx", nginx(result.loaded)),
              ("findings", .array(result.findings.map(finding))),
              (
                "blind_spots",
                .array(
                  result.blindSpots.map { spot in
                    .object([
                      ("id", .string(spot.id)), ("what", .string(spot.what)),
                      ("cost", .string(spot.cost)),
                      ("remedy", spot.remedy.map { .string($0) } ?? .null),
                    ])
                  })
              ),
            ])
          })
      )
    ])
  }

  private static func nginx(_ loaded: LoadedNginx) -> JSONValue {
    let instance = loaded.instance
    return .object([
      ("version", instance.version.map { .string($0) } ?? .null),
      ("master", instance.master.map { .integer(Int64($0)) } ?? .null),
      ("configuration", instance.configurationPath.map { .string(printable($0)) } ?? .null),
      ("files", .array(loaded.files.map { .string(printable($0)) })),
      ("upstreams", .array(instance.upstreams.map { .string($0.name) })),
    ])
  }

  private static func finding(_ finding: AuditFinding) -> JSONValue {
    .object([
      ("rule", .string(finding.rule)), ("severity", .string(finding.severity.name)),
      ("file", .string(finding.file)), ("line", .integer(Int64(finding.line))),
      ("also", .array(finding.also.map { .string($0) })),
      ("message", .string(finding.message)), ("leads_to", .string(finding.leadsTo)),
      (
        "fix",
        .object([
          ("text", .string(finding.fix.text)), ("place", .string(finding.fix.place)),
          ("trade_off", .string(finding.fix.tradeOff)),
        ])
      ),
    ])
  }

  /// SARIF 2.1.0, which code hosts and editors show beside the lines.
  static func sarif(_ results: [AuditResult], version: String) -> JSONValue {
    let rules = Audit.rules.map { rule -> JSONValue in
      .object([
        ("id", .string(rule.id)),
        ("shortDescription", .object([("text", .string(rule.summary))])),
      ])
    }
    return .object([
      ("$schema", .string("https://json.schemastore.org/sarif-2.1.0.json")),
      ("version", .string("2.1.0")),
      (
        "runs",
        .array(
          results.map { result in
            .object([
              (
                "tool",
                .object([
                  (
                    "driver",
                    .object([
                      ("name", .string("upclose")), ("version", .string(version)),
                      ("rules", .array(rules)),
                    ])
                  )
                ])
              ),
              ("columnKind", .string("utf16CodeUnits")),
              ("results", .array(result.findings.map(sarifResult))),
            ])
          })
      ),
    ])
  }

  private static func sarifResult(_ finding: AuditFinding) -> JSONValue {
    var locations = [location(finding.file, finding.line)]
    for place in finding.also {
      guard let colon = place.lastIndex(of: ":"),
        let line = Int(place[place.index(after: colon)...])
      else { continue }
      locations.append(location(String(place[..<colon]), line))
    }
    let text =
      "\(finding.message). It leads to: \(finding.leadsTo). Write (\(finding.fix.place)): "
      + "\(finding.fix.text) Trade-off: \(finding.fix.tradeOff)."
    return .object([
      ("ruleId", .string(finding.rule)), ("level", .string(finding.severity.name)),
      ("message", .object([("text", .string(text))])),
      ("locations", .array(Array(locations.prefix(1)))),
      ("relatedLocations", .array(Array(locations.dropFirst()))),
    ])
  }

  private static func location(_ file: String, _ line: Int) -> JSONValue {
    .object([
      (
        "physicalLocation",
        .object([
          ("artifactLocation", .object([("uri", .string(uri(file)))])),
          ("region", .object([("startLine", .integer(Int64(max(1, line))))])),
        ])
      )
    ])
  }

  /// RFC 3986: what is not unreserved is escaped; an absolute path is a `file:` URI.
  private static func uri(_ path: String) -> String {
    var text = path.hasPrefix("/") ? "file://" : ""
    for byte in path.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "/"), UInt8(ascii: "-"),
        UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
        text.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let hex = String(byte, radix: 16, uppercase: true)
        text += "%" + (hex.utf8.count < 2 ? "0" : "") + hex
      }
    }
    return text
  }

  private static func printable(_ text: String) -> String {
    String(escapingControlsIn: text.utf8)
  }
}
