public import Evidence
import Report

/// Checks as lines of JSON: `ts`, `target`, `outcome`, `connect_time`, `reason`, and what was asked
/// for beyond. A sweep writes 100,000 of them, so that its time must not go there.
public struct CheckLine {
  /// A member after the five: its name and its value as JSON.
  public typealias Extra = (name: String, json: String)

  private let utcOffset: Int
  /// The second that was written last, as text before and after its decimals.
  private var second = Int64.min
  private var date: [UInt8] = []
  private var zone: [UInt8] = []

  /// - Parameter utcOffset: seconds east of UTC, in which `ts` is written.
  public init(utcOffset: Int) { self.utcOffset = utcOffset }

  public mutating func append(
    _ check: PortCheck, at time: Timestamp, extras: [Extra] = [], to bytes: inout [UInt8]
  ) {
    bytes += #"{"ts":""#.utf8
    append(time, to: &bytes)
    bytes += #"","target":""#.utf8
    append(check.target, to: &bytes)
    bytes += #"","outcome":""#.utf8
    bytes += check.outcome.rawValue.utf8
    bytes += #"","connect_time":"#.utf8
    if let connectTime = check.connectTime {
      bytes += Self.seconds(connectTime).utf8
    } else {
      bytes += "null".utf8
    }
    bytes += #","reason":"#.utf8
    if let reason = check.reason {
      Self.append(quoting: reason, to: &bytes)
    } else {
      bytes += "null".utf8
    }
    for extra in extras {
      bytes.append(44)
      Self.append(quoting: extra.name, to: &bytes)
      bytes.append(58)
      bytes += extra.json.utf8
    }
    bytes += "}\n".utf8
  }

  /// ISO 8601 to the microsecond.
  private mutating func append(_ time: Timestamp, to bytes: inout [UInt8]) {
    let (quotient, remainder) = time.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let now = remainder < 0 ? quotient - 1 : quotient
    if now != second {
      second = now
      let text = Array(Timestamp(seconds: now).iso8601(offset: utcOffset, digits: 1).utf8)
      let dot = text.firstIndex(of: 46) ?? text.count
      date = Array(text[..<dot])
      zone = Array(text[min(text.count, dot + 2)...])
    }
    bytes += date
    bytes.append(46)
    Self.append(UInt64(time.nanoseconds - now * 1_000_000_000) / 1000, digits: 6, to: &bytes)
    bytes += zone
  }

  private func append(_ endpoint: Endpoint, to bytes: inout [UInt8]) {
    guard let v4 = endpoint.address.v4 else {
      bytes += endpoint.description.utf8
      return
    }
    for shift in [UInt32(24), 16, 8, 0] {
      Self.append(UInt64(v4 >> shift & 255), digits: 1, to: &bytes)
      bytes.append(shift == 0 ? 58 : 46)
    }
    Self.append(UInt64(endpoint.port), digits: 1, to: &bytes)
  }

  /// Decimal, with zeros in front up to so many digits.
  private static func append(_ value: UInt64, digits: Int, to bytes: inout [UInt8]) {
    let start = bytes.count
    var rest = value
    while rest > 0 || bytes.count - start < digits {
      bytes.append(48 + UInt8(rest % 10))
      rest /= 10
    }
    bytes[start...].reverse()
  }

  private static func append(quoting text: String, to bytes: inout [UInt8]) {
    let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != 34 && $0 != 92 }
    guard isPlain else {
      bytes += quoted(text).utf8
      return
    }
    bytes.append(34)
    bytes += text.utf8
    bytes.append(34)
  }

  /// Seconds with nine decimals at most, as `0.000021`.
  public static func seconds(_ span: TimeSpan) -> String { MetricsWriter.seconds(span) }

  /// A JSON string.
  public static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        let hex = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
