import Evidence
import PortProbe
import Report
import Sweep

/// The JSON forms of a sweep beyond the line of a check.
extension SweepText {
  /// What was asked for beyond the port itself.
  static func extras(_ result: ConnectEngine.Result, _ target: SweepTarget) -> [CheckLine.Extra] {
    var extras: [CheckLine.Extra] = []
    if let name = target.name { extras.append(("name", CheckLine.quoted(name))) }
    switch result.conversation {
    case let tls as TLSConversation:
      extras.append(("tls", json(tls).compact))
    case let http as HTTPConversation:
      let value = JSONValue.object([
        ("status", http.status.map { .integer(Int64($0)) } ?? .null),
        ("time_to_first_byte", http.timeToFirstByte.map { .number($0.seconds) } ?? .null),
      ])
      extras.append(("http", value.compact))
    default: break
    }
    return extras
  }

  private static func json(_ tls: TLSConversation) -> JSONValue {
    var version: String?
    if case .serverHello(let name, _) = tls.reply { version = name }
    return .object([
      ("speaks_tls", tls.reply?.speaksTLS.map { .bool($0) } ?? .null),
      ("version", version.map { .string($0) } ?? .null),
      ("answer", tls.reply.map { .string("\($0)") } ?? .null),
    ])
  }

  static func json(_ finding: KeepaliveConversation.Finding) -> JSONValue {
    .object([
      ("requests", finding.requests.map { .integer(Int64($0)) } ?? .null),
      ("requests_answered", .integer(Int64(finding.answered))),
      ("idle_timeout", finding.idleTimeout.map { .number($0.seconds) } ?? .null),
      ("idle", .number(finding.idle.seconds)),
      ("notes", .array(finding.notes.map { .string($0) })),
    ])
  }

  /// The whole sweep as one document.
  static func document(
    _ runner: SweepRunner, _ keepalives: [SweepPrinter.KeepaliveLine], utcOffset: Int
  ) -> JSONValue {
    let book = runner.book
    return .object([
      ("rounds", .integer(Int64(runner.roundsDone))),
      ("rounds_missed", .integer(Int64(runner.roundsMissed))),
      (
        "targets",
        .array(
          book.indices.compactMap { index in
            guard let history = book.history(index) else { return nil }
            let keepalive = keepalives.last { $0.target == book[index] }?.finding
            return json(book[index], history, keepalive, utcOffset)
          })
      ),
    ])
  }

  private static func json(
    _ target: SweepTarget, _ history: TargetHistory, _ keepalive: KeepaliveConversation.Finding?,
    _ utcOffset: Int
  ) -> JSONValue {
    func time(_ time: Timestamp?) -> JSONValue {
      time.map { .string($0.iso8601(offset: utcOffset)) } ?? .null
    }
    func seconds(_ span: TimeSpan?) -> JSONValue { span.map { .number($0.seconds) } ?? .null }
    func text(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
    let times = history.connectTimes
    let connectTimes: [(String, JSONValue)] = [
      ("last", seconds(history.last?.connectTime)), ("p50", seconds(times?.percentile(50))),
      ("p90", seconds(times?.percentile(90))), ("p99", seconds(times?.percentile(99))),
      ("max", seconds(times?.longest)),
    ]
    let outages = history.recentOutages.map { outage -> JSONValue in
      let length = outage.duration(at: history.lastTime ?? outage.start)
      return .object([
        ("start", time(outage.start)), ("end", time(outage.end)), ("duration", seconds(length)),
        ("outcome", .string(outage.outcome.rawValue)), ("reason", text(outage.reason)),
      ])
    }
    let outcomes = PortCheck.Outcome.allCases.map { outcome -> (String, JSONValue) in
      (outcome.rawValue, .unsigned(history.count(of: outcome)))
    }
    var members: [(String, JSONValue)] = [
      ("target", .string("\(target.endpoint)")), ("name", text(target.name)),
      ("state", text(history.state?.rawValue)), ("since", time(history.since)),
      ("checks", .unsigned(history.checks)), ("good", .unsigned(history.goodChecks)),
      ("flaps", .unsigned(history.flaps)), ("outcomes", .object(outcomes)),
    ]
    members += [
      ("last_outcome", text(history.last?.outcome.rawValue)),
      ("last_reason", text(history.last?.reason)), ("connect_time", .object(connectTimes)),
      ("outages", .array(outages)), ("keepalive", keepalive.map { json($0) } ?? .null),
    ]
    return .object(members)
  }
}
