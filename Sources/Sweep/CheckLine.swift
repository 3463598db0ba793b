public import Evidence

/// A check as one line of JSON: `ts`, `target`, `outcome`, `connect_time`, `reason`, and what was
/// asked for beyond.
public enum CheckLine {
  /// A member after the five: its name and its value as JSON.
  public typealias Extra = (name: String, json: String)

  /// - Parameter utcOffset: seconds east of UTC, in which `ts` is written.
  public static func append(
    _ check: PortCheck, at time: Timestamp, utcOffset: Int, extras: [Extra] = [],
    to bytes: inout [UInt8]
  ) {
    bytes += #"{"ts":""#.utf8
    bytes += time.iso8601(offset: utcOffset, digits: 6).utf8
    bytes += #"","target":""#.utf8
    bytes += check.target.description.utf8
    bytes += #"","outcome":""#.utf8
    bytes += check.outcome.rawValue.utf8
    bytes += #"","connect_time":"#.utf8
    if let connectTime = check.connectTime {
      bytes += seconds(connectTime).utf8
    } else {
      bytes += "null".utf8
    }
    bytes += #","reason":"#.utf8
    if let reason = check.reason { bytes += quoted(reason).utf8 } else { bytes += "null".utf8 }
    for extra in extras {
      bytes += ",".utf8
      bytes += quoted(extra.name).utf8
      bytes += ":".utf8
      bytes += extra.json.utf8
    }
    bytes += "}\n".utf8
  }

  /// Seconds with nine decimals at most, as `0.000021`.
  public static func seconds(_ span: TimeSpan) -> String {
    let n = span.magnitude.nanoseconds
    let sign = span.nanoseconds < 0 ? "-" : ""
    var fraction = String(n % 1_000_000_000)
    fraction = String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
    while fraction.utf8.last == 48 { fraction.removeLast() }
    return "\(sign)\(n / 1_000_000_000)" + (fraction.isEmpty ? "" : ".\(fraction)")
  }

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
