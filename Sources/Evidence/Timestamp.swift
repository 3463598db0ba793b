/// A moment in time: nanoseconds since the Unix epoch (UTC, without leap seconds).
///
/// Range: the years 1678 to 2262. It is written in JSON as ISO 8601 in UTC with nine decimals, so
/// that a recorded session can be read by eye and by `jq`.
public struct Timestamp: Hashable, Comparable, Sendable {
  /// Nanoseconds since 1970-01-01T00:00:00Z.
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) {
    self.nanoseconds = nanoseconds
  }

  /// - Parameters:
  ///   - seconds: whole seconds since the epoch.
  ///   - nanoseconds: added to them.
  public init(seconds: Int64, nanoseconds: Int64 = 0) {
    self.nanoseconds = seconds &* 1_000_000_000 &+ nanoseconds
  }

  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }

  public static func - (a: Self, b: Self) -> TimeSpan {
    TimeSpan(nanoseconds: a.nanoseconds &- b.nanoseconds)
  }

  public static func + (a: Self, b: TimeSpan) -> Self {
    Self(nanoseconds: a.nanoseconds &+ b.nanoseconds)
  }

  public static func - (a: Self, b: TimeSpan) -> Self {
    Self(nanoseconds: a.nanoseconds &- b.nanoseconds)
  }
}

extension Timestamp {
  /// ISO 8601 with its offset, as `2026-11-24T10:01:02.123Z` or `…+01:00`.
  /// - Parameters:
  ///   - offset: seconds east of UTC.
  ///   - digits: decimals of the second, 0 to 9; what is left is cut, not rounded.
  public func iso8601(offset: Int = 0, digits: Int = 3) -> String {
    let local = nanoseconds &+ Int64(offset) &* 1_000_000_000
    let (date, time) = Self.civil(local)
    var text = "\(pad(date.year, 4))-\(pad(date.month, 2))-\(pad(date.day, 2))T"
    text += Self.clock(time, digits: digits)
    guard offset != 0 else { return text + "Z" }
    let minutes = abs(offset) / 60
    return text + (offset < 0 ? "-" : "+") + "\(pad(minutes / 60, 2)):\(pad(minutes % 60, 2))"
  }

  /// The time of day alone, as `10:01:02.123`.
  public func timeOfDay(offset: Int = 0, digits: Int = 3) -> String {
    Self.clock(Self.civil(nanoseconds &+ Int64(offset) &* 1_000_000_000).time, digits: digits)
  }

  /// Reads ISO 8601: a date, `T` or a space, a time with up to nine decimals (after a point or a
  /// comma), and `Z`, `+hh:mm`, `+hhmm` or nothing (UTC). Nil for anything else.
  public init?(iso8601 text: some StringProtocol) {
    var scan = Scanner(text.utf8)
    guard let year = scan.digits(4), scan.take("-"), let month = scan.digits(2), scan.take("-"),
      let day = scan.digits(2), scan.take("T") || scan.take(" "), let hour = scan.digits(2),
      scan.take(":"), let minute = scan.digits(2), scan.take(":"), let second = scan.digits(2),
      (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
    else { return nil }
    var fraction: Int64 = 0
    if scan.take(".") || scan.take(",") {
      guard let value = scan.fraction() else { return nil }
      fraction = value
    }
    var offset = 0
    if !scan.take("Z") && !scan.isAtEnd {
      let negative = scan.take("-")
      guard negative || scan.take("+"), let hours = scan.digits(2) else { return nil }
      _ = scan.take(":")
      guard let minutes = scan.digits(2) else { return nil }
      offset = (hours * 60 + minutes) * (negative ? -60 : 60)
    }
    guard scan.isAtEnd else { return nil }
    self = Self(
      year: year, month: month, day: day, hour: hour, minute: minute, second: second,
      nanoseconds: fraction, offset: offset)
  }

  /// A moment from the calendar (proleptic Gregorian).
  /// - Parameter offset: seconds east of UTC of the place whose clock showed it.
  public init(
    year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int,
    nanoseconds: Int64 = 0, offset: Int = 0
  ) {
    let seconds = Self.days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    self.init(seconds: Int64(seconds), nanoseconds: nanoseconds)
  }

  /// Days since the epoch of a date; the year starts in March, so that a leap day comes last.
  static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let y = month <= 2 ? year - 1 : year
    let era = (y >= 0 ? y : y - 399) / 400
    let yearOfEra = y - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func civil(_ nanoseconds: Int64) -> (
    date: (year: Int, month: Int, day: Int), time: Int64
  ) {
    let perDay: Int64 = 86_400_000_000_000
    var (day, rest) = nanoseconds.quotientAndRemainder(dividingBy: perDay)
    // Towards the past, also from the first moment that can be told.
    if rest < 0 { (day, rest) = (day - 1, rest + perDay) }
    let z = Int(day) + 719_468
    let era = (z >= 0 ? z : z - 146_096) / 146_097
    let dayOfEra = z - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let date = (year: year, month: month, day: dayOfYear - (153 * shifted + 2) / 5 + 1)
    return (date, rest)
  }

  private static func clock(_ nanoseconds: Int64, digits: Int) -> String {
    let seconds = Int(nanoseconds / 1_000_000_000)
    var text = "\(pad(seconds / 3600, 2)):\(pad(seconds / 60 % 60, 2)):\(pad(seconds % 60, 2))"
    if digits > 0 {
      text += "." + pad(Int(nanoseconds % 1_000_000_000), 9).prefix(min(digits, 9))
    }
    return text
  }
}

extension Timestamp: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let time = Self(iso8601: text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' is not an ISO 8601 time")
    }
    self = time
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(iso8601(digits: 9))
  }
}

extension Timestamp: CustomStringConvertible {
  public var description: String { iso8601(digits: 9) }
}

/// Zero-padded decimal.
func pad(_ value: Int, _ width: Int) -> String {
  let digits = String(value)
  return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

private struct Scanner<Bytes: Collection> where Bytes.Element == UInt8 {
  private var rest: Bytes.SubSequence
  init(_ bytes: Bytes) { rest = bytes[...] }
  var isAtEnd: Bool { rest.isEmpty }

  mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard let first = rest.first, UInt32(first) == character.value else { return false }
    rest = rest.dropFirst()
    return true
  }

  mutating func digits(_ count: Int) -> Int? {
    var value = 0
    for _ in 0..<count {
      guard let byte = rest.first, (48...57).contains(byte) else { return nil }
      value = value * 10 + Int(byte - 48)
      rest = rest.dropFirst()
    }
    return value
  }

  /// Decimals of a second, in nanoseconds; digits after the ninth are read and dropped.
  mutating func fraction() -> Int64? {
    var value: Int64 = 0
    var count = 0
    while let byte = rest.first, (48...57).contains(byte) {
      if count < 9 { value = value * 10 + Int64(byte - 48) }
      count += 1
      rest = rest.dropFirst()
    }
    guard count > 0 else { return nil }
    for _ in min(count, 9)..<9 { value *= 10 }
    return value
  }
}
