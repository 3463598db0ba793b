public import Correlator
import Evidence

/// What happened on a backend's host, as lines.
public struct HostEventText: Sendable {
  private let style: TextStyle

  public init(_ style: TextStyle) { self.style = style }

  /// As `11:34:24.319 10.0.1.12:8080 oom-kill | the OOM killer killed pid 9881 (app) …`.
  public func line(_ event: HostEvent) -> String {
    let clock = event.time.best.timeOfDay(offset: style.utcOffset)
    let place = event.endpoint.map { "\($0) " } ?? ""
    let kind = event.isFailure ? style.red(event.kind.rawValue) : event.kind.rawValue
    var parts = ["\(clock) \(place)\(style.bold(kind))"]
    if let connection = event.connection {
      parts.append(
        CloseWords.sentence(
          closer: connection.closer, manner: connection.manner, phase: connection.phase,
          idleBeforeClose: connection.idleBeforeClose, originator: "client"))
    }
    parts.append(event.text)
    return parts.joined(separator: " | ")
  }

  /// What there was, the books, and what could not be seen.
  public func summary(_ counts: [HostEvent.Kind: Int], _ summary: Summary) -> String {
    let kinds = counts.sorted { $0.key.rawValue < $1.key.rawValue }
      .map { "\($0.key.rawValue) \($0.value)" }
    var lines = [style.bold(kinds.isEmpty ? "Nothing ended as it should not" : "Seen")]
    if !kinds.isEmpty { lines.append("  " + kinds.joined(separator: ", ")) }
    lines += ["", style.bold("Books")]
    for source in summary.books.sources.sorted(by: { $0.source < $1.source }) {
      lines.append("  \(source.source): \(source.seen) seen, \(source.lost) lost")
    }
    lines += ["", style.bold("Blind spots")]
    if summary.blindSpots.isEmpty { lines.append("  none known") }
    for spot in summary.blindSpots {
      let remedy = spot.remedy.map { "; \($0)" } ?? ""
      lines.append(style.wrap("  \(spot.what): \(spot.cost)\(remedy)", keeping: "    "))
    }
    return lines.joined(separator: "\n")
  }
}

/// The same for programs.
public enum HostEventJSON {
  public static func object(_ event: HostEvent) -> JSONValue {
    .object([
      ("time", .string(event.time.best.iso8601(digits: 9))),
      ("earliest", .string(event.time.earliest.iso8601(digits: 9))),
      ("latest", .string(event.time.latest.iso8601(digits: 9))),
      ("kind", .string(event.kind.rawValue)),
      ("failure", .bool(event.isFailure)),
      ("endpoint", event.endpoint.map { .string($0.description) } ?? .null),
      ("process", event.process.map(process) ?? .null),
      ("connection", event.connection.map(connection) ?? .null),
      ("text", .string(event.text)),
    ])
  }

  private static func process(_ process: ProcessIdentity) -> JSONValue {
    .object([
      ("pid", .integer(Int64(process.pid))),
      ("command", .string(process.command)),
      ("executable", process.executable.map { .string($0) } ?? .null),
      ("parent", process.parent.map { .integer(Int64($0)) } ?? .null),
      ("cgroup", process.cgroup.map { .string($0) } ?? .null),
      ("unit", process.unit.map { .string($0) } ?? .null),
      ("container", process.container.map { .string($0) } ?? .null),
    ])
  }

  private static func connection(_ connection: Connection) -> JSONValue {
    .object([
      ("client", .string(connection.flow.originator.description)),
      ("closer", .string(connection.closer.rawValue)),
      ("manner", connection.manner.map { .string($0.rawValue) } ?? .null),
      (
        "phase", connection.phase == .unknown ? .null : .string(connection.phase.rawValue)
      ),
      ("conn_state", .string(connection.connState.rawValue)),
      ("history", .string(connection.history)),
      ("request", connection.request.map { .string($0) } ?? .null),
    ])
  }
}
