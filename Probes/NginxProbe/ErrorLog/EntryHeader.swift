/// nginx's log levels, the most urgent first (`ngx_log.h`).
public enum LogLevel: UInt8, Hashable, Comparable, Sendable {
  case emerg, alert, crit, error, warn, notice, info, debug

  /// As nginx writes it.
  public var name: String {
    switch self {
    case .emerg: "emerg"
    case .alert: "alert"
    case .crit: "crit"
    case .error: "error"
    case .warn: "warn"
    case .notice: "notice"
    case .info: "info"
    case .debug: "debug"
    }
  }

  /// From the configuration's word; nil for any other (`debug_http` and its like are `debug`).
  public init?(name: String) {
    if name.hasPrefix("debug_") {
      self = .debug
      return
    }
    guard let level = Self.all.first(where: { $0.name == name }) else { return nil }
    self = level
  }

  private static let all: [LogLevel] = [
    .emerg, .alert, .crit, .error, .warn, .notice, .info, .debug,
  ]

  /// Less urgent is greater, as a log's threshold is read: `error < info`.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What every entry of an error log starts with: `TS [LEVEL] PID#TID: *CONN ` (nginx-1.22.1,
/// src/core/ngx_log.c:95-150).
struct EntryHeader: Hashable {
  var time: CivilTime
  var level: LogLevel
  var pid: Int32
  var connection: UInt64?
  /// Where the message starts.
  var end: Int

  init(time: CivilTime, level: LogLevel, pid: Int32, connection: UInt64?, end: Int) {
    self.time = time
    self.level = level
    self.pid = pid
    self.connection = connection
    self.end = end
  }

  /// Nil when these bytes are not the start of an entry.
  init?(_ bytes: Span<UInt8>) {
    guard let time = CivilTime(bytes), let level = Self.level(bytes) else { return nil }
    self.time = time
    self.level = level
    var position = CivilTime.length + 2 + level.length
    guard bytes.has("] ", at: position) else { return nil }
    position += 2
    guard let pid = bytes.number(at: &position).flatMap(Int32.init(exactly:)),
      bytes.has("#", at: position)
    else { return nil }
    self.pid = pid
    position += 1
    // The thread's number means nothing outside that process.
    guard bytes.number(at: &position) != nil, bytes.has(":", at: position) else { return nil }
    position += 1
    if bytes.has(" ", at: position) { position += 1 }
    if bytes.has("*", at: position) {
      var behind = position + 1
      if let serial = bytes.number(at: &behind), bytes.has(" ", at: behind) {
        connection = UInt64(serial)
        position = behind + 1
      }
    }
    end = position
  }

  /// Whether a line starts an entry: cheap, and good enough to tell it from a continuation.
  static func startsEntry(_ bytes: Span<UInt8>) -> Bool {
    bytes.count > CivilTime.length + 2 && bytes[0] &- 48 < 10 && bytes[4] == 0x2f
      && bytes[7] == 0x2f && bytes[10] == 0x20 && bytes[13] == 0x3a && bytes[16] == 0x3a
      && bytes[19] == 0x20 && bytes[20] == 0x5b && CivilTime(bytes) != nil
  }

  /// The level that is written behind the stamp; nil when none is.
  static func level(_ bytes: Span<UInt8>) -> LogLevel? {
    let start = CivilTime.length
    guard bytes.has(" [", at: start), bytes.count > start + 4 else { return nil }
    let level: LogLevel
    switch bytes[start + 2] {
    case UInt8(ascii: "e"): level = bytes[start + 3] == UInt8(ascii: "r") ? .error : .emerg
    case UInt8(ascii: "a"): level = .alert
    case UInt8(ascii: "c"): level = .crit
    case UInt8(ascii: "w"): level = .warn
    case UInt8(ascii: "n"): level = .notice
    case UInt8(ascii: "i"): level = .info
    case UInt8(ascii: "d"): level = .debug
    default: return nil
    }
    let known: Bool =
      switch level {
      case .emerg: bytes.has("emerg", at: start + 2)
      case .alert: bytes.has("alert", at: start + 2)
      case .crit: bytes.has("crit", at: start + 2)
      case .error: bytes.has("error", at: start + 2)
      case .warn: bytes.has("warn", at: start + 2)
      case .notice: bytes.has("notice", at: start + 2)
      case .info: bytes.has("info", at: start + 2)
      case .debug: bytes.has("debug", at: start + 2)
      }
    return known ? level : nil
  }
}

extension LogLevel {
  /// Bytes of its name.
  fileprivate var length: Int {
    switch self {
    case .emerg, .alert, .error, .debug: 5
    case .crit, .warn, .info: 4
    case .notice: 6
    }
  }
}
