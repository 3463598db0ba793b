import ArgumentParser
import Evidence
import Glibc

/// A length of time on the command line: `20s`, `5m`, `1h`, `250ms`, or seconds without a unit.
struct DurationArgument: ExpressibleByArgument, CustomStringConvertible {
  var span: TimeSpan

  init(_ span: TimeSpan) { self.span = span }

  init?(argument: String) {
    let units: [(String, Double)] = [
      ("ms", 0.001), ("s", 1), ("m", 60), ("min", 60), ("h", 3600), ("d", 86400), ("", 1),
    ]
    let number = argument.prefix { $0.isNumber || $0 == "." }
    let unit = String(argument.dropFirst(number.count))
    guard let value = Double(number), let scale = units.first(where: { $0.0 == unit })?.1,
      value.isFinite, value >= 0, value * scale < 1e9
    else { return nil }
    span = TimeSpan(seconds: value * scale)
  }

  var description: String { span.description }
  var defaultValueDescription: String { "\(span.seconds == 1 ? "1s" : description)" }
}

/// The host's offset from UTC at a moment, in seconds east.
func utcOffset(at time: Timestamp) -> Int {
  var seconds = time_t(time.nanoseconds / 1_000_000_000)
  var parts = tm()
  localtime_r(&seconds, &parts)
  return parts.tm_gmtoff
}

/// An offset from UTC on the command line: `+01:00`, `-0330`, `Z`.
struct OffsetArgument: ExpressibleByArgument {
  /// Seconds east of UTC.
  var seconds: Int

  init?(argument: String) {
    guard let time = Timestamp(iso8601: "2000-01-01T00:00:00" + argument), !argument.isEmpty else {
      return nil
    }
    seconds = Int((Timestamp(seconds: 946_684_800) - time).nanoseconds / 1_000_000_000)
  }
}

/// A moment on the command line, in ISO 8601.
struct TimeArgument: ExpressibleByArgument {
  var time: Timestamp

  init?(argument: String) {
    guard let time = Timestamp(iso8601: argument) else { return nil }
    self.time = time
  }
}
