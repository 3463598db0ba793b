/// A length of time in nanoseconds, positive or negative; in JSON a number of seconds.
///
/// The standard `Duration` is not used because its JSON form is a pair of integers that neither a
/// person nor Zeek's tools read as a duration.
public struct TimeSpan: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  public static func microseconds(_ value: Int64) -> Self { Self(nanoseconds: value * 1000) }
  public static func milliseconds(_ value: Int64) -> Self { Self(nanoseconds: value * 1_000_000) }
  public static func seconds(_ value: Int64) -> Self { Self(nanoseconds: value * 1_000_000_000) }

  /// - Parameter seconds: rounded to the nearest nanosecond; clamped to what fits.
  public init(seconds: Double) {
    nanoseconds = Int64(exactly: (seconds * 1e9).rounded()) ?? (seconds < 0 ? .min : .max)
  }

  public static let zero = Self(nanoseconds: 0)

  /// In seconds; exact to the nanosecond up to 104 days.
  public var seconds: Double { Double(nanoseconds) / 1e9 }

  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }
  public static func + (a: Self, b: Self) -> Self {
    Self(nanoseconds: a.nanoseconds &+ b.nanoseconds)
  }
  public static func - (a: Self, b: Self) -> Self {
    Self(nanoseconds: a.nanoseconds &- b.nanoseconds)
  }

  /// The length without its sign.
  public var magnitude: Self { Self(nanoseconds: nanoseconds < 0 ? 0 &- nanoseconds : nanoseconds) }
}

extension TimeSpan: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let seconds = try? container.decode(Double.self) {
      self.init(seconds: seconds)
    } else if let span = Self(decimal: try container.decode(String.self)) {
      self = span
    } else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "no number of seconds")
    }
  }

  /// A number of seconds, or, beyond the 104 days within which that is exact, its decimals in a string:
  /// a recorded session must say the same to the nanosecond.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if Self(seconds: seconds) == self {
      try container.encode(seconds)
    } else {
      try container.encode(decimal)
    }
  }

  private var decimal: String {
    let (whole, rest) = nanoseconds.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
    return (nanoseconds < 0 ? "-" : "") + "\(whole)." + pad(Int(rest), 9)
  }

  private init?(decimal text: String) {
    let parts = text.split(separator: ".")
    let isNegative = text.hasPrefix("-")
    guard parts.count == 2, parts[1].utf8.count == 9, let rest = Int64(parts[1]), rest >= 0,
      let whole = Int64(parts[0])
    else { return nil }
    let (scaled, isTooLarge) = whole.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflows) = scaled.addingReportingOverflow(isNegative ? -rest : rest)
    guard !isTooLarge, !overflows else { return nil }
    nanoseconds = sum
  }
}

extension TimeSpan: CustomStringConvertible {
  /// Three significant digits with the unit that suits: `480 ns`, `3.2 µs`, `12 ms`, `5.00 s`,
  /// `4 min 5 s`, `2 h 3 min`.
  public var description: String {
    let n = magnitude.nanoseconds
    let sign = nanoseconds < 0 ? "-" : ""
    switch n {
    case ..<1000: return "\(sign)\(n) ns"
    case ..<1_000_000: return "\(sign)\(Self.significant(n, unit: 1000)) µs"
    case ..<1_000_000_000: return "\(sign)\(Self.significant(n, unit: 1_000_000)) ms"
    case ..<60_000_000_000: return "\(sign)\(Self.significant(n, unit: 1_000_000_000)) s"
    case ..<3_600_000_000_000:
      let seconds = n / 1_000_000_000
      return "\(sign)\(seconds / 60) min" + (seconds % 60 == 0 ? "" : " \(seconds % 60) s")
    default:
      let minutes = n / 60_000_000_000
      return "\(sign)\(minutes / 60) h" + (minutes % 60 == 0 ? "" : " \(minutes % 60) min")
    }
  }

  private static func significant(_ n: Int64, unit: Int64) -> String {
    let whole = n / unit
    if whole >= 100 { return "\(whole)" }
    if whole >= 10 { return "\(whole).\(n % unit * 10 / unit)" }
    return "\(whole).\(pad(Int(n % unit * 100 / unit), 2))"
  }
}
