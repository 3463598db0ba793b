public import Evidence

/// What upclose needs of a configuration, resolved by nginx's rules.
public struct NginxSettings: Hashable, Sendable {
  /// Of `http` and `stream`; `upstream` blocks first, then the groups that nginx makes of a literal
  /// address.
  public var upstreams: [UpstreamGroup] = []
  public var errorLogs: [LogSetting] = []
  public var accessLogs: [LogSetting] = []
  /// `proxy_pass` and its like whose target only a request decides, as
  /// `proxy_pass $backend (/etc/nginx/nginx.conf:40)`.
  public var undecidedTargets: [String] = []
  /// Which group each `proxy_pass` or its like leads to; several where a variable decides.
  public var passes: [PassTarget] = []

  public init() {}
}

/// Where a `proxy_pass` or its like leads.
public struct PassTarget: Hashable, Sendable {
  /// Of the directive, as `/etc/nginx/nginx.conf:40`.
  public var location: String
  /// The place of its group in `NginxSettings.upstreams`.
  public var group: Int
}

/// An `error_log` or `access_log`.
public struct LogSetting: Hashable, Sendable {
  public var target: Target
  /// Of an error log: the least urgent level that is written. `error` where none is given.
  public var level: LogLevel
  /// As `/etc/nginx/nginx.conf:4`; nil for the one that is compiled in.
  public var location: String?
  /// Of an access log of `http`: the name of its `log_format`.
  public var format: String?

  public enum Target: Hashable, Sendable {
    /// An absolute path.
    case file(String)
    /// nginx's standard error.
    case stderr
    /// With what is behind `syslog:`.
    case syslog(String)
    /// A ring in nginx's memory.
    case memory
    /// A path that depends on the request.
    case variable(String)
  }

  /// - Parameters:
  ///   - path: as it is written.
  ///   - prefix: where relative paths start.
  init(_ path: String, prefix: String, level: LogLevel = .error, location: String?) {
    self.level = level
    self.location = location
    if path == "stderr" {
      target = .stderr
    } else if path.hasPrefix("syslog:") {
      target = .syslog(String(path.dropFirst(7)))
    } else if path.hasPrefix("memory:") {
      target = .memory
    } else if path.contains("$") {
      target = .variable(path)
    } else {
      target = .file(absolute(path, from: prefix))
    }
  }
}

/// A path, from `prefix` if it is relative.
func absolute(_ path: String, from prefix: String) -> String {
  if path.hasPrefix("/") { return path }
  return prefix.hasSuffix("/") ? prefix + path : "\(prefix)/\(path)"
}

/// A time as nginx reads it: `30`, `10s`, `500ms`, `1m 30s`, `1h30m` (src/core/ngx_parse.c).
func parseTime(_ text: String) -> TimeSpan? {
  let units: [(String, Int64)] = [
    ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000), ("w", 604_800_000_000_000), ("M", 2_592_000_000_000_000),
    ("y", 31_536_000_000_000_000),
  ]
  var rest = text[...]
  var total: Int64 = 0
  guard !rest.isEmpty else { return nil }
  while !rest.isEmpty {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    guard let value = Int64(digits) else { return nil }
    rest = rest.dropFirst(digits.count)
    // `ms` before `m`, which is its start.
    let unit = units.first { rest.hasPrefix($0.0) }
    if unit == nil, !rest.isEmpty, rest.first != " " { return nil }
    let (part, over) = value.multipliedReportingOverflow(by: unit?.1 ?? 1_000_000_000)
    let (sum, over2) = total.addingReportingOverflow(part)
    if over || over2 { return nil }
    total = sum
    rest = rest.dropFirst(unit?.0.count ?? 0).drop { $0 == " " }
  }
  return TimeSpan(nanoseconds: total)
}
