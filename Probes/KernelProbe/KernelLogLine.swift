import Evidence
import LinuxHost

/// One line of a kernel log that was saved as text.
struct KernelLogLine: Equatable {
  var time: Time
  /// The message alone.
  var text: [UInt8]
  var sequence: UInt64?
  var isFragment = false

  enum Time: Equatable {
    /// Microseconds of the kernel's clock, which begins with the boot.
    case sinceBoot(UInt64)
    case wall(TimeEstimate)
  }

  /// What a line may be besides a message of the kernel.
  enum Reading: Equatable {
    case line(KernelLogLine)
    /// A program's line, a heading, the rest of a message of several lines.
    case skipped
    case notParsed
  }

  /// What a line cannot say of its own time.
  struct Context: Equatable {
    /// Seconds east of UTC of the clock that stamped it.
    var utcOffset = 0
    /// A moment not before the log's last line: it tells the year.
    var reference: Timestamp?
  }

  /// Recognises, by its form: `dmesg` (plain, `-T`, `-x`, `-r`, `--time-format iso`, with
  /// CONFIG_PRINTK_CALLER), a copy of `/dev/kmsg`, `journalctl -k` (short, short-precise, short-iso,
  /// short-monotonic) and syslog's kern.log.
  static func read(_ bytes: ArraySlice<UInt8>, _ context: Context) -> Reading {
    guard let first = bytes.first, first != 32, first != 9 else { return .skipped }
    if bytes.starts(with: "-- ".utf8) { return .skipped }
    switch first {
    case UInt8(ascii: "<"):
      // The raw form: `<6>[    1.000000] text`.
      guard let end = bytes.firstIndex(of: UInt8(ascii: ">")),
        let priority = decimal(bytes[bytes.index(after: bytes.startIndex)..<end])
      else { return .notParsed }
      if priority >> 3 != 0 { return .skipped }
      return bracketed(bytes[(end + 1)...], context)
    case UInt8(ascii: "["):
      return bracketed(bytes, context)
    case 48...57:
      if let record = KmsgRecord(line: bytes) {
        guard record.facility == 0 else { return .skipped }
        return .line(
          KernelLogLine(
            time: .sinceBoot(record.microseconds), text: record.text, sequence: record.sequence,
            isFragment: record.isFragment))
      }
      return iso(bytes)
    default:
      return decoded(bytes, context) ?? syslog(bytes, context)
    }
  }

  /// `[ 3565.634046] text`, `[ 3565.634046][ T7366] text`, `[Tue Nov 24 10:59:31 2026] text`.
  private static func bracketed(_ bytes: ArraySlice<UInt8>, _ context: Context) -> Reading {
    guard bytes.first == UInt8(ascii: "["), let end = bytes.firstIndex(of: UInt8(ascii: "]")) else {
      return .notParsed
    }
    let stamp = bytes[(bytes.startIndex + 1)..<end]
    var text = bytes[(end + 1)...]
    if text.first == UInt8(ascii: "["), let second = text.firstIndex(of: UInt8(ascii: "]")) {
      text = text[(second + 1)...]
    }
    if text.first == 32 { text = text.dropFirst() }
    let words = stamp.split(separator: 32)
    if let seconds = words.first.flatMap({ microseconds($0) }) {
      // short-monotonic has host and tag behind the time.
      let words = text.split(separator: 32, maxSplits: 2)
      if words.count == 3, words[1].elementsEqual("kernel:".utf8) { text = words[2] }
      return .line(KernelLogLine(time: .sinceBoot(seconds), text: Array(text)))
    }
    guard words.count == 5, let year = decimal(words[4]).flatMap({ Int(exactly: $0) }),
      let time = time(
        month: words[1], day: words[2], clock: words[3], year: year, offset: context.utcOffset)
    else { return .notParsed }
    // dmesg adds the record's clock to the boot time that holds when it runs: what the clocks have
    // drifted apart, or were set, since the record is its error.
    return .line(
      KernelLogLine(time: .wall(TimeEstimate(time, within: .seconds(5))), text: Array(text)))
  }

  /// `kern  :info  : [    1.000000] text`.
  private static func decoded(_ bytes: ArraySlice<UInt8>, _ context: Context) -> Reading? {
    guard let bracket = bytes.firstIndex(of: UInt8(ascii: "[")) else { return nil }
    let parts = bytes[..<bracket].split(
      separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 3, parts[2].allSatisfy({ $0 == 32 }) else { return nil }
    let facility = parts[0].prefix { $0 != 32 }
    guard facility.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) }) else {
      return nil
    }
    return facility.elementsEqual("kern".utf8) ? bracketed(bytes[bracket...], context) : .skipped
  }

  /// `2026-11-24T10:59:31,634046+00:00 text` (dmesg, with a comma) and
  /// `2026-11-24T10:59:31.634046+0000 host kernel: text` (the journal, syslog).
  private static func iso(_ bytes: ArraySlice<UInt8>) -> Reading {
    guard let space = bytes.firstIndex(of: 32),
      let time = Timestamp(iso8601: String(decoding: bytes[..<space], as: UTF8.self))
    else { return .notParsed }
    let rest = bytes[(space + 1)...]
    let stamp = bytes[..<space]
    if stamp.contains(UInt8(ascii: ",")) {
      return .line(
        KernelLogLine(time: .wall(TimeEstimate(time, within: .seconds(5))), text: Array(rest)))
    }
    return tagged(rest, arrival(time, isPrecise: stamp.contains(UInt8(ascii: "."))))
  }

  /// `Nov 24 10:59:31 host kernel: [ 3565.634046] text`.
  private static func syslog(_ bytes: ArraySlice<UInt8>, _ context: Context) -> Reading {
    let words = bytes.split(separator: 32, maxSplits: 3)
    guard words.count == 4, let reference = context.reference else {
      return words.count == 4 && monthNumber(words[0]) != nil ? .skipped : .notParsed
    }
    // The year is the last in which the line is not after the reference; a day is left for clocks
    // and zones that disagree.
    let latest = reference + .seconds(86_400)
    let year = Int(latest.iso8601(digits: 0).prefix { $0 != "-" }) ?? 1970
    for candidate in [year, year - 1] {
      guard
        let time = time(
          month: words[0], day: words[1], clock: words[2], year: candidate,
          offset: context.utcOffset)
      else { continue }
      guard time <= latest else { continue }
      return tagged(words[3], arrival(time, isPrecise: words[2].contains(UInt8(ascii: "."))))
    }
    return .notParsed
  }

  /// The logger's stamp is when it *read* the record: mostly at once, later while the host is busy.
  private static func arrival(_ time: Timestamp, isPrecise: Bool) -> TimeEstimate {
    TimeEstimate(
      best: time, earliest: time - .seconds(1), latest: isPrecise ? time : time + .seconds(1))
  }

  /// `host kernel: text`, or `host kernel: [ 3565.634046] text`.
  private static func tagged(_ bytes: ArraySlice<UInt8>, _ time: TimeEstimate) -> Reading {
    let words = bytes.split(separator: 32, maxSplits: 2)
    guard words.count >= 2 else { return .notParsed }
    guard words[1].elementsEqual("kernel:".utf8) else { return .skipped }
    var text = words.count > 2 ? words[2] : []
    if text.first == UInt8(ascii: "["), let end = text.firstIndex(of: UInt8(ascii: "]")),
      let stamp = text[(text.startIndex + 1)..<end].split(separator: 32).first,
      microseconds(stamp) != nil
    {
      text = text[(end + 1)...].drop { $0 == 32 }
    }
    return .line(KernelLogLine(time: .wall(time), text: Array(text)))
  }

  /// `3565.634046` in microseconds.
  static func microseconds(_ digits: ArraySlice<UInt8>) -> UInt64? {
    guard let point = digits.firstIndex(of: UInt8(ascii: ".")),
      let seconds = decimal(digits[..<point]), seconds < 1 << 40
    else { return nil }
    let fraction = digits[(point + 1)...]
    guard let value = decimal(fraction), fraction.count <= 9 else { return nil }
    var micros = value
    for _ in fraction.count..<max(fraction.count, 6) { micros *= 10 }
    for _ in 6..<max(fraction.count, 6) { micros /= 10 }
    return seconds * 1_000_000 + micros
  }

  private static func time(
    month: ArraySlice<UInt8>, day: ArraySlice<UInt8>, clock: ArraySlice<UInt8>, year: Int,
    offset: Int
  ) -> Timestamp? {
    guard let month = monthNumber(month), let day = decimal(day), (1...31).contains(day),
      (1970...2261).contains(year)
    else { return nil }
    let parts = clock.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 3, let hour = decimal(parts[0]), hour < 24,
      let minute = decimal(parts[1]), minute < 60
    else { return nil }
    let whole = parts[2].prefix { $0 != UInt8(ascii: ".") }
    guard let second = decimal(whole), second <= 60 else { return nil }
    let micros = whole.count == parts[2].count ? 0 : microseconds(parts[2]).map { $0 % 1_000_000 }
    guard let micros else { return nil }
    return Timestamp(
      year: year, month: month, day: Int(day), hour: Int(hour), minute: Int(minute),
      second: Int(second), nanoseconds: Int64(micros) * 1000, offset: offset)
  }

  private static func monthNumber(_ name: ArraySlice<UInt8>) -> Int? {
    guard name.count == 3 else { return nil }
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec".utf8
    for month in 0..<12 where names.dropFirst(month * 3).prefix(3).elementsEqual(name) {
      return month + 1
    }
    return nil
  }
}
