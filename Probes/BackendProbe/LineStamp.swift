import Evidence
import LinuxHost

/// The date and time that a program puts before its line.
struct LineStamp: Equatable {
  var time: Timestamp
  /// It tells the second, not the moment.
  var isWholeSecond: Bool

  /// What a line cannot say of its own time.
  struct Context: Equatable {
    /// Seconds east of UTC of the clock in lines that do not say.
    var utcOffset = 0
    /// A moment not before the log's last line: it tells the year that syslog leaves out.
    var reference: Timestamp?
  }

  /// Finds the stamp at or near the beginning of a line.
  ///
  /// Recognises ISO 8601 (`2026-11-24T13:48:13.5Z`, `2026-11-24 13:48:13 +0000`, with `/` or `,`),
  /// `24-Nov-2026 13:48:13` (php-fpm, Tomcat), `24/Nov/2026:13:48:13` (HAProxy, access logs),
  /// `Tue Nov 24 13:48:13.123456 2026` (Apache, uWSGI) and `Nov 24 13:48:13` (syslog).
  static func find(_ line: ArraySlice<UInt8>, _ context: Context) -> LineStamp? {
    // Behind `[`, a client's address and the like.
    let head = line.prefix(120)
    var index = head.startIndex
    while index < head.endIndex {
      let byte = head[index]
      let isStart =
        index == head.startIndex
        || [32, UInt8(ascii: "["), UInt8(ascii: "("), 9].contains(head[head.index(before: index)])
      if isStart, (48...57).contains(byte) || (65...90).contains(byte) {
        var scan = StampScanner(line[index...].prefix(48))
        if let stamp = scan.stamp(context) { return stamp }
      }
      index += 1
    }
    return nil
  }
}

/// Reads a stamp where it begins.
private struct StampScanner {
  private let all: ArraySlice<UInt8>
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    all = bytes
    rest = bytes
  }

  mutating func stamp(_ context: LineStamp.Context) -> LineStamp? {
    if let stamp = iso(context) { return stamp }
    rest = all
    if let stamp = dayFirst(context) { return stamp }
    rest = all
    if let stamp = asctime(context) { return stamp }
    rest = all
    return syslog(context)
  }

  private mutating func iso(_ context: LineStamp.Context) -> LineStamp? {
    guard let year = digits(4), take("-") || take("/"), let month = digits(2),
      take("-") || take("/"), let day = digits(2), take("T") || take(" "), let clock = clock()
    else { return nil }
    return moment(year, month, day, clock, offset() ?? context.utcOffset)
  }

  private mutating func dayFirst(_ context: LineStamp.Context) -> LineStamp? {
    guard let day = digits(2), take("-") || take("/"), let month = month(), take("-") || take("/"),
      let year = digits(4), take(" ") || take(":"), let clock = clock()
    else { return nil }
    return moment(year, month, day, clock, offset() ?? context.utcOffset)
  }

  /// `Tue Nov 24 13:48:13 2026`.
  private mutating func asctime(_ context: LineStamp.Context) -> LineStamp? {
    guard rest.count > 20, rest.prefix(3).allSatisfy({ $0 | 0x20 >= 97 }) else { return nil }
    rest = rest.dropFirst(3)
    guard take(" "), let month = month(), take(" ") else { return nil }
    _ = take(" ")
    guard let day = digits(2) ?? digits(1), take(" "), let clock = clock(), take(" "),
      let year = digits(4)
    else { return nil }
    return moment(year, month, day, clock, context.utcOffset)
  }

  private mutating func syslog(_ context: LineStamp.Context) -> LineStamp? {
    guard let reference = context.reference, let month = month(), take(" ") else { return nil }
    _ = take(" ")
    guard let day = digits(2) ?? digits(1), take(" "), let clock = clock() else { return nil }
    // The last year in which it is not after the reference; a day is left for clocks that disagree.
    let latest = reference + .seconds(86_400)
    let year = Int(latest.iso8601(digits: 0).prefix { $0 != "-" }) ?? 1970
    for candidate in [year, year - 1] {
      if let stamp = moment(candidate, month, day, clock, context.utcOffset), stamp.time <= latest {
        return stamp
      }
    }
    return nil
  }

  private typealias Clock = (hour: Int, minute: Int, second: Int, fraction: Int64?)

  private mutating func clock() -> Clock? {
    guard let hour = digits(2), hour < 24, take(":"), let minute = digits(2), minute < 60,
      take(":"), let second = digits(2), second <= 60
    else { return nil }
    return (hour, minute, second, fraction())
  }

  private func moment(
    _ year: Int, _ month: Int, _ day: Int, _ clock: Clock, _ offset: Int
  ) -> LineStamp? {
    guard (1970...2261).contains(year), (1...12).contains(month), (1...31).contains(day) else {
      return nil
    }
    return LineStamp(
      time: Timestamp(
        year: year, month: month, day: day, hour: clock.hour, minute: clock.minute,
        second: clock.second, nanoseconds: clock.fraction ?? 0, offset: offset),
      isWholeSecond: clock.fraction == nil)
  }

  /// `.123` or `,123`, in nanoseconds.
  private mutating func fraction() -> Int64? {
    let before = rest
    guard take(".") || take(",") else { return nil }
    var value: Int64 = 0
    var count = 0
    while let byte = rest.first, (48...57).contains(byte) {
      if count < 9 {
        value = value * 10 + Int64(byte - 48)
        count += 1
      }
      rest = rest.dropFirst()
    }
    guard count > 0 else {
      rest = before
      return nil
    }
    for _ in count..<9 { value *= 10 }
    return value
  }

  /// `Z`, `+0000`, `+00:00`, also behind a space; in seconds east.
  private mutating func offset() -> Int? {
    let before = rest
    _ = take(" ")
    if take("Z") { return 0 }
    let isWest = rest.first == UInt8(ascii: "-")
    guard take("+") || take("-"), let hours = digits(2) else {
      rest = before
      return nil
    }
    _ = take(":")
    guard let minutes = digits(2), hours <= 14, minutes < 60 else {
      rest = before
      return nil
    }
    return (hours * 60 + minutes) * (isWest ? -60 : 60)
  }

  private mutating func digits(_ count: Int) -> Int? {
    let part = rest.prefix(count)
    guard part.count == count, let value = decimal(part) else { return nil }
    rest = rest.dropFirst(count)
    return Int(value)
  }

  private mutating func month() -> Int? {
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec".utf8
    let part = rest.prefix(3)
    for month in 0..<12 where names.dropFirst(month * 3).prefix(3).elementsEqual(part) {
      rest = rest.dropFirst(3)
      return month + 1
    }
    return nil
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard let first = rest.first, UInt32(first) == character.value else { return false }
    rest = rest.dropFirst()
    return true
  }
}
