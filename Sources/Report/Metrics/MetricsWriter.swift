public import Evidence

/// Writes Prometheus' text format (exposition formats, "Text-based format"), as node_exporter's
/// textfile collector reads it.
public struct MetricsWriter: Sendable {
  public enum Kind: String, Sendable {
    case gauge, counter, summary
  }

  public private(set) var text = ""
  private let prefix: String
  private var open = ""

  /// - Parameter prefix: of every name, as `upclose_port_`.
  public init(prefix: String) { self.prefix = prefix }

  /// Begins a family of samples; those that follow belong to it.
  public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
    open = prefix + name
    text += "# HELP \(open) \(help)\n# TYPE \(open) \(kind.rawValue)\n"
  }

  /// A sample of the family begun last.
  /// - Parameter suffix: as `_sum` of a summary.
  public mutating func sample(
    _ labels: [(String, String)] = [], suffix: String = "", _ value: String
  ) {
    let list = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
    text += "\(open)\(suffix)\(list.isEmpty ? "" : "{\(list)}") \(value)\n"
  }

  /// The only sample of its family.
  public mutating func sample(_ value: String) { sample([], value) }

  /// A span in seconds, without zeros at its end.
  public static func seconds(_ span: TimeSpan) -> String {
    let n = span.magnitude.nanoseconds
    let sign = span.nanoseconds < 0 ? "-" : ""
    var fraction = String(n % 1_000_000_000)
    fraction = String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
    while fraction.utf8.last == 48 { fraction.removeLast() }
    return "\(sign)\(n / 1_000_000_000)" + (fraction.isEmpty ? "" : ".\(fraction)")
  }

  /// A moment in seconds since the epoch, to the millisecond.
  public static func seconds(_ time: Timestamp) -> String {
    seconds(TimeSpan(nanoseconds: time.nanoseconds / 1_000_000 * 1_000_000))
  }

  /// Of a label's value: backslash, quote and line feed.
  private static func escaped(_ text: String) -> String {
    var escaped = ""
    for character in text {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.append(character)
      }
    }
    return escaped
  }
}
