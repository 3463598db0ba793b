public import Evidence

/// A connection as one line: JSON for programs, with Zeek's names, or a row for people.
///
/// Written by hand into one growing buffer: a capture has hundreds of thousands of them.
public enum ConnectionLine {
  /// Appends one JSON object and a line's end. What is not known is `null`; times are seconds with
  /// nine decimals, durations seconds with six to nine.
  public static func appendJSON(_ connection: Connection, to bytes: inout [UInt8]) {
    // A hundred bytes of names and signs a field at most, and six for each byte that is escaped.
    let free = (connection.request?.utf8.count ?? 0) + connection.history.utf8.count
    let marks = connection.forgeryMarks.reduce(0) { $0 + $1.utf8.count + 1 }
    JSONLine.append(to: &bytes, atMost: 2600 + 6 * (free + marks)) { write(connection, to: &$0) }
  }

  private static func write(_ connection: Connection, to out: inout JSONLine) {
    let flow = connection.flow
    out.begin()
    out.time("ts", connection.firstPacket)
    out.span("duration", connection.duration)
    out.address("orig_h", flow.originator.address)
    out.number("orig_p", UInt64(flow.originator.port))
    out.address("resp_h", flow.responder.address)
    out.number("resp_p", UInt64(flow.responder.port))
    out.word("conn_state", connection.connState.rawValue)
    out.word("history", connection.history)
    out.number("orig_bytes", connection.originatorBytes)
    out.number("resp_bytes", connection.responderBytes)
    out.number("orig_pkts", connection.originatorPackets)
    out.number("resp_pkts", connection.responderPackets)
    out.word("closer", connection.closer.rawValue)
    out.word("manner", connection.manner?.rawValue)
    out.word("phase", connection.phase == .unknown ? nil : connection.phase.rawValue)
    out.number("exchanges", connection.exchanges.map { UInt64(clamping: $0) })
    out.span("idle_before_close", connection.idleBeforeClose)
    out.word("request_delivery", connection.requestDelivery.rawValue)
    out.span("rtt", connection.rtt)
    out.bool("request_after_fin", connection.requestAfterFIN)
    out.text("request", connection.request)
    out.texts("forgery_marks", connection.forgeryMarks)
    out.number("id", connection.id)
    out.end()
  }

  /// The column titles of `appendText`.
  public static let textHeader =
    "TIME             ORIGINATOR            RESPONDER             STATE  CLOSED BY    HOW      IDLE  HISTORY\n"

  /// Appends a row: when, between whom, Zeek's state, who closed and how, the pause before it.
  ///
  /// A failed request is named on a second line.
  public static func appendText(_ connection: Connection, to bytes: inout [UInt8]) {
    var row = connection.firstPacket.timeOfDay(digits: 6)
    row = pad(row, 17)
    row += pad(connection.flow.originator.description, 22)
    row += pad(connection.flow.responder.description, 22)
    row += pad(connection.connState.rawValue, 7)
    row += pad(closer(connection.closer), 13)
    row += pad(manner(connection.manner), 9)
    row += pad(connection.idleBeforeClose?.description ?? "-", 9)
    row += connection.history
    bytes.append(contentsOf: row.utf8)
    bytes.append(0x0a)
    if let detail = detail(connection) {
      bytes.append(contentsOf: "                 \(detail)\n".utf8)
    }
  }

  private static func closer(_ closer: Closer) -> String { closer == .none ? "-" : closer.rawValue }

  private static func manner(_ manner: Manner?) -> String {
    switch manner {
    case nil: "-"
    case .fin?: "FIN"
    case .activeReset?: "RST"
    case .passiveReset?: "RST gone"
    case .refused?: "refused"
    case .timeout?: "timeout"
    }
  }

  /// What went wrong, if the last request got no whole answer.
  private static func detail(_ connection: Connection) -> String? {
    var parts: [String] = []
    switch connection.phase {
    case .sendingRequest: parts.append("while the request was sent")
    case .awaitingResponse: parts.append("while the response was awaited")
    case .receivingResponse: parts.append("in the middle of the response")
    case .tlsHandshake: parts.append("in the TLS handshake")
    case .connecting, .idle, .unknown: break
    }
    if connection.requestAfterFIN { parts.append("request sent after the responder's FIN") }
    if let request = connection.request { parts.append("request \(request)") }
    if connection.requestDelivery == .rejected { parts.append("rejected unread") }
    parts += connection.forgeryMarks.map { "forged? \($0)" }
    return parts.isEmpty || connection.closedAt == nil ? nil : parts.joined(separator: "; ")
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    let count = text.count
    return count < width ? text + String(repeating: " ", count: width - count) : text + " "
  }
}
