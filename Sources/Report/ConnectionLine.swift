public import Evidence

/// A connection as one line: JSON for programs, with Zeek's names, or a row for people.
///
/// Written by hand into one growing buffer: a capture has hundreds of thousands of them.
public enum ConnectionLine {
  /// Appends one JSON object and a line's end. What is not known is `null`; times are seconds with
  /// nine decimals, durations seconds with six to nine.
  public static func appendJSON(_ connection: Connection, to bytes: inout [UInt8]) {
    var out = JSONLine(bytes: bytes)
    bytes = []
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
    bytes = out.bytes
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

/// Writes a flat JSON object. The buffer is moved in and out, so that it is never copied.
struct JSONLine {
  var bytes: [UInt8]
  private var isFirst = true

  init(bytes: consuming [UInt8]) { self.bytes = bytes }

  mutating func begin() {
    bytes.append(0x7b)
    isFirst = true
  }

  mutating func end() {
    bytes.append(0x7d)
    bytes.append(0x0a)
  }

  private mutating func name(_ name: StaticString) {
    if !isFirst { bytes.append(0x2c) }
    isFirst = false
    bytes.append(0x22)
    raw(name)
    bytes.append(0x22)
    bytes.append(0x3a)
  }

  private mutating func raw(_ text: StaticString) {
    bytes.append(
      contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  mutating func number(_ name: StaticString, _ value: UInt64?) {
    self.name(name)
    if let value { decimal(value) } else { raw("null") }
  }

  mutating func bool(_ name: StaticString, _ value: Bool) {
    self.name(name)
    raw(value ? "true" : "false")
  }

  /// A word that needs no escaping.
  mutating func word(_ name: StaticString, _ value: String?) {
    self.name(name)
    guard let value else { return raw("null") }
    bytes.append(0x22)
    bytes.append(contentsOf: value.utf8)
    bytes.append(0x22)
  }

  mutating func text(_ name: StaticString, _ value: String?) {
    self.name(name)
    if let value { quoted(value) } else { raw("null") }
  }

  mutating func texts(_ name: StaticString, _ values: [String]) {
    self.name(name)
    bytes.append(0x5b)
    for (index, value) in values.enumerated() {
      if index > 0 { bytes.append(0x2c) }
      quoted(value)
    }
    bytes.append(0x5d)
  }

  private mutating func quoted(_ value: String) {
    bytes.append(0x22)
    for byte in value.utf8 {
      switch byte {
      case 0x22, 0x5c:
        bytes.append(0x5c)
        bytes.append(byte)
      case 0..<0x20:
        raw("\\u00")
        bytes.append(hexDigit(byte >> 4))
        bytes.append(hexDigit(byte & 15))
      default: bytes.append(byte)
      }
    }
    bytes.append(0x22)
  }

  mutating func time(_ name: StaticString, _ value: Timestamp) {
    self.name(name)
    seconds(value.nanoseconds, decimals: 9)
  }

  /// Six decimals, or nine where they differ.
  mutating func span(_ name: StaticString, _ value: TimeSpan?) {
    self.name(name)
    guard let value else { return raw("null") }
    seconds(value.nanoseconds, decimals: value.nanoseconds % 1000 == 0 ? 6 : 9)
  }

  mutating func address(_ name: StaticString, _ value: IPAddress) {
    self.name(name)
    bytes.append(0x22)
    if let v4 = value.v4 {
      for shift in [24, 16, 8, 0] as [UInt32] {
        decimal(UInt64(v4 >> shift & 255))
        if shift > 0 { bytes.append(0x2e) }
      }
    } else {
      bytes.append(contentsOf: value.description.utf8)
    }
    bytes.append(0x22)
  }

  private mutating func seconds(_ nanoseconds: Int64, decimals: Int) {
    if nanoseconds < 0 { bytes.append(0x2d) }
    let magnitude = nanoseconds.magnitude
    decimal(magnitude / 1_000_000_000)
    bytes.append(0x2e)
    var rest = magnitude % 1_000_000_000
    if decimals == 6 { rest /= 1000 }
    let start = bytes.count
    for _ in 0..<decimals { bytes.append(0x30) }
    var position = start + decimals
    while rest > 0 {
      position -= 1
      bytes[position] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
  }

  private mutating func decimal(_ value: UInt64) {
    if value < 10 {
      bytes.append(0x30 + UInt8(truncatingIfNeeded: value))
      return
    }
    let start = bytes.count
    var rest = value
    while rest > 0 {
      bytes.append(0x30 + UInt8(truncatingIfNeeded: rest % 10))
      rest /= 10
    }
    bytes[start...].reverse()
  }

  private func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}
