import Evidence
import Glibc

/// Whose clock stamped a log: nginx writes local time and does not say of which zone.
public enum LogZone: Hashable, Sendable {
  /// The zone of this host (`TZ` or `/etc/localtime`), with its daylight saving time.
  case host
  /// A fixed offset, in seconds east of UTC.
  case fixed(secondsEast: Int)
}

extension LogZone: LosslessStringConvertible {
  /// `host`, `UTC`, or an offset as `+01:00`.
  public var description: String {
    guard case .fixed(let seconds) = self else { return "host" }
    if seconds == 0 { return "UTC" }
    let minutes = abs(seconds) / 60
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return (seconds < 0 ? "-" : "+") + two(minutes / 60) + ":" + two(minutes % 60)
  }

  /// Reads `host`, `UTC`, `Z`, `+01:00`, `-0330`, `+2`; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "host": self = .host
    case "UTC", "utc", "Z", "GMT": self = .fixed(secondsEast: 0)
    default:
      guard let sign = text.first, sign == "+" || sign == "-" else { return nil }
      let digits = text.dropFirst().filter { $0 != ":" }
      guard digits.utf8.count == 4 || digits.utf8.count <= 2 && !digits.isEmpty,
        digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(digits)
      else { return nil }
      let minutes = digits.utf8.count == 4 ? number / 100 * 60 + number % 100 : number * 60
      guard minutes <= 14 * 60 else { return nil }
      self = .fixed(secondsEast: minutes * (sign == "-" ? -60 : 60))
    }
  }
}

/// A date and a time of day as a log shows them, zone unknown.
struct CivilTime: Hashable {
  var year = 0
  var month = 0
  var day = 0
  var hour = 0
  var minute = 0
  var second = 0

  /// Bytes of `YYYY/MM/DD HH:MM:SS`.
  static let length = 19

  init() {}

  /// Reads the stamp at the start of a line; nil when there is none.
  init?(_ bytes: Span<UInt8>) {
    guard bytes.count >= Self.length, bytes[4] == 0x2f, bytes[7] == 0x2f, bytes[10] == 0x20,
      bytes[13] == 0x3a, bytes[16] == 0x3a
    else { return nil }
    var bad: UInt8 = 0
    func two(_ at: Int) -> Int {
      let tens = bytes[at] &- 48
      let ones = bytes[at + 1] &- 48
      if tens > 9 || ones > 9 { bad = 1 }
      return Int(tens) * 10 + Int(ones)
    }
    year = two(0) * 100 + two(2)
    month = two(5)
    day = two(8)
    hour = two(11)
    minute = two(14)
    second = two(17)
    guard bad == 0, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
      second <= 60
    else { return nil }
  }

  /// As if it were UTC.
  var utc: Timestamp {
    Timestamp(
      year: year, month: month, day: day, hour: hour, minute: minute, second: second)
  }
}

/// Turns a log's local times into moments.
struct LogClock {
  let zone: LogZone
  private var cachedMinute: Int64 = .min
  private var cachedOffsets: [Int] = []
  private var previous: Timestamp?

  init(_ zone: LogZone) {
    self.zone = zone
    // localtime_r alone need not read TZ.
    if zone == .host { tzset() }
  }

  /// The moment at which the log's clock showed `civil`.
  ///
  /// In the hour that repeats when daylight saving time ends there are two. A line that was just
  /// read is the later one that is not in the future; in a file it is the first one that is not
  /// before the line above it.
  /// - Parameter arrival: when the line was read as it arrived; nil for a file.
  mutating func moment(_ civil: CivilTime, arrival: Timestamp? = nil) -> Timestamp {
    let utc = civil.utc
    if case .fixed(let seconds) = zone { return utc - .seconds(Int64(seconds)) }
    let minute = utc.nanoseconds / 60_000_000_000
    if minute != cachedMinute {
      cachedOffsets = Self.hostOffsets(utc.nanoseconds / 1_000_000_000)
      cachedMinute = minute
    }
    // From the earlier moment to the later.
    let moments = cachedOffsets.map { utc - .seconds(Int64($0)) }.sorted()
    let result: Timestamp?
    if let arrival {
      result = moments.last { $0 <= arrival + .seconds(2) } ?? moments.first
    } else if let previous {
      // Workers that write in the same second may be a little out of order.
      result = moments.first { $0 >= previous - .seconds(60) } ?? moments.last
    } else {
      result = moments.first
    }
    previous = result
    return result ?? utc
  }

  /// The offsets that the host's zone may have had when its clocks showed this time: one, or two in
  /// the hour that repeats; in the hour that is skipped, the one before it.
  private static func hostOffsets(_ local: Int64) -> [Int] {
    let around = [-86_400, 0, 86_400].map { offset(at: local + $0) }
    var valid: [Int] = []
    for candidate in around where !valid.contains(candidate) {
      if offset(at: local - Int64(candidate)) == candidate { valid.append(candidate) }
    }
    return valid.isEmpty ? [around[0]] : valid
  }

  /// Seconds east of UTC on this host at a moment.
  private static func offset(at seconds: Int64) -> Int {
    var time = time_t(seconds)
    var result = tm()
    return localtime_r(&time, &result) == nil ? 0 : Int(result.tm_gmtoff)
  }
}
