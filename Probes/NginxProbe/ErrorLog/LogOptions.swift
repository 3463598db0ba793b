import Evidence
import LinuxHost

/// How error logs are read.
public struct LogOptions: Sendable {
  /// The host named in observations.
  public var host: String
  /// Whose local time the logs are written in.
  public var zone: LogZone
  /// Whether query strings stay in requests and upstream URIs.
  public var keepsQueryStrings: Bool
  /// The least urgent level that becomes an observation; `debug` lines are only counted by default.
  public var threshold: LogLevel
  /// Of a log that is read from a file: whether what is no upstream failure (and says nothing of
  /// peers or of nginx's own life) is counted and not taken apart, and so is a crowd of failures of
  /// one kind at one upstream. A long log is read at the speed of its bytes.
  public var onlyUpstreamFailures = false

  public init(
    host: String? = nil, zone: LogZone = .host, keepsQueryStrings: Bool = false,
    threshold: LogLevel = .info
  ) {
    self.host = host ?? hostName()
    self.zone = zone
    self.keepsQueryStrings = keepsQueryStrings
    self.threshold = threshold
  }

  var parser: ErrorLogParser {
    ErrorLogParser(zone: zone, keepsQueryStrings: keepsQueryStrings, threshold: threshold)
  }
}

/// The books of one log.
struct LogCounts {
  var lines: UInt64 = 0
  var notParsed: UInt64 = 0
  var skipped: UInt64 = 0
  var rotations: UInt64 = 0
  var duplicates: UInt64 = 0
  /// No upstream failures, where only those are wanted.
  var passedOver: UInt64 = 0
  /// Failures that were counted and not told: too many alike.
  var crowded: UInt64 = 0

  mutating func add(_ other: LogCounts) {
    lines += other.lines
    notParsed += other.notParsed
    skipped += other.skipped
    rotations += other.rotations
    duplicates += other.duplicates
    passedOver += other.passedOver
    crowded += other.crowded
  }

  var counters: Counters {
    var counters = Counters(
      source: "errors", seen: lines, lost: 0,
      details: [
        "not parsed": notParsed, "below threshold": skipped, "rotations": rotations,
        "in two logs": duplicates,
      ])
    if passedOver > 0 { counters.details["no upstream failures"] = passedOver }
    if crowded > 0 { counters.details["counted only"] = crowded }
    return counters
  }
}

extension TimeEstimate {
  /// How far nginx's cached clock may lag when a worker is busy: measured 2.0 s.
  static let stallAllowance = TimeSpan.seconds(2)

  /// When a line was written, from its stamp alone: within the second that it names, or later by as
  /// much as the worker's clock lagged.
  /// - Parameter limit: the line was there by then.
  init(stamped: Timestamp, notAfter limit: Timestamp? = nil) {
    var latest = stamped + .seconds(1) + Self.stallAllowance
    if let limit { latest = max(stamped, min(latest, limit)) }
    self.init(best: min(stamped + .milliseconds(500), latest), earliest: stamped, latest: latest)
  }
}
