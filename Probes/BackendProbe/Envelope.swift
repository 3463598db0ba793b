import Evidence
import LinuxHost

/// What a log's carrier puts around a program's own line, taken off it.
struct Envelope: Equatable {
  /// The program's own line.
  var text: [UInt8]
  /// When the carrier took it; nil when there is none or it does not say.
  var received: Timestamp?
  /// When `received` stands for a second and not for a moment.
  var isWholeSecond = false
  var unit: String?
  /// Of the process that wrote it, as the host names it.
  var writer: Int32?

  init(
    text: [UInt8], received: Timestamp? = nil, isWholeSecond: Bool = false, unit: String? = nil,
    writer: Int32? = nil
  ) {
    self.text = text
    self.received = received
    self.isWholeSecond = isWholeSecond
    self.unit = unit
    self.writer = writer
  }

  /// Recognises, by their form: docker's json-file (`{"log":…,"time":…}`), the CRI's
  /// (`TIME stdout F text`), and `journalctl -o json`.
  /// - Returns: nil for a line that carries no text.
  static func open(_ line: ArraySlice<UInt8>) -> Envelope? {
    if line.first == UInt8(ascii: "{") { return json(line) }
    return cri(line) ?? Envelope(text: Array(line))
  }

  private static func json(_ line: ArraySlice<UInt8>) -> Envelope? {
    var reader = JSONReader(line)
    // A program's own JSON, or cut: as it stands.
    guard let value = try? reader.value() else { return Envelope(text: Array(line)) }
    if let text = value["log"]?.bytes, let time = value["time"]?.bytes {
      return Envelope(
        text: trimmed(text), received: Timestamp(iso8601: String(decoding: time, as: UTF8.self)))
    }
    guard let text = value["MESSAGE"]?.bytes, let stamp = value["__REALTIME_TIMESTAMP"]?.integer
    else { return Envelope(text: Array(line)) }
    // systemd's own entries are about a unit (`UNIT`), a program's are of one.
    let unit = value["UNIT"]?.bytes ?? value["_SYSTEMD_UNIT"]?.bytes
    let microseconds = value["_SOURCE_REALTIME_TIMESTAMP"]?.integer ?? stamp
    return Envelope(
      text: trimmed(text),
      received: Timestamp(nanoseconds: Int64(clamping: microseconds) &* 1000),
      unit: unit.map { String(escapingControlsIn: $0) },
      writer: value["_PID"]?.integer.flatMap { Int32(exactly: $0) })
  }

  /// `2026-11-24T10:59:31.669794202Z stderr F text`.
  private static func cri(_ line: ArraySlice<UInt8>) -> Envelope? {
    guard let first = line.first, (48...57).contains(first) else { return nil }
    let words = line.split(separator: 32, maxSplits: 3, omittingEmptySubsequences: false)
    guard words.count == 4,
      words[1].elementsEqual("stdout".utf8) || words[1].elementsEqual("stderr".utf8),
      words[2].elementsEqual("F".utf8) || words[2].elementsEqual("P".utf8),
      let time = Timestamp(iso8601: String(decoding: words[0], as: UTF8.self))
    else { return nil }
    return Envelope(text: Array(words[3]), received: time)
  }

  private static func trimmed(_ text: [UInt8]) -> [UInt8] {
    var text = text
    while let last = text.last, last == 10 || last == 13 { text.removeLast() }
    return text
  }
}
