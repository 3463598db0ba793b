import Evidence

/// What was counted for one upstream server.
public struct UpstreamStatistics: Hashable, Codable, Sendable {
  public var upstream: String
  /// The group it belongs to.
  public var group: String?
  public var connectionsEnded: Int = 0
  public var refused: Int = 0
  /// Closed by the backend while idle: healthy, by itself.
  public var idleCloses: Int = 0
  /// Closed by the backend while a request was unanswered or its answer unfinished.
  public var abnormalCloses: Int = 0
  public var resets: Int = 0
  public var nginxCloses: Int = 0
  public var errors: Int = 0
  /// Errors by cause.
  public var causes: [String: Int] = [:]
  public var checks: Int = 0
  public var checksOpen: Int = 0
  /// Idle time after which the backend closes.
  public var idleTimeout: Estimate?
  /// Processes seen behind it, as `pid 3434 (app)`.
  public var processes: [String] = []
  /// Closes by the backend that no nginx error explains (retried silently, or not nginx's).
  public var unexplainedCloses: Int = 0
}

/// Running statistics of one upstream.
struct UpstreamTally {
  var statistics: UpstreamStatistics
  private var idleGaps: [TimeSpan] = []
  private var recentChecks: [(time: Timestamp, outcome: PortCheck.Outcome)] = []

  init(_ upstream: String) { statistics = UpstreamStatistics(upstream: upstream) }

  mutating func count(_ connection: Connection) {
    statistics.connectionsEnded += 1
    if connection.manner == .refused { statistics.refused += 1 }
    if connection.responderReset != nil, connection.manner != .refused { statistics.resets += 1 }
    if connection.closer == .originator { statistics.nginxCloses += 1 }
    guard connection.closer == .responder else { return }
    if connection.phase == .idle, connection.manner == .fin {
      statistics.idleCloses += 1
      if let gap = connection.idleBeforeClose, connection.exchanges != 0 { add(gap) }
    } else if connection.manner != .refused {
      statistics.abnormalCloses += 1
    }
  }

  mutating func count(_ check: PortCheck, at time: Timestamp) {
    statistics.checks += 1
    if check.outcome == .open { statistics.checksOpen += 1 }
    recentChecks.append((time, check.outcome))
    if recentChecks.count > 600 { recentChecks.removeFirst(300) }
  }

  func checks(around time: TimeEstimate) -> PortChecks {
    // A check says something about its own moment; ten seconds later it is another story.
    let near = recentChecks.filter { ($0.time - time.best).magnitude < .seconds(10) }
    return PortChecks(
      before: near.last { $0.time <= time.best }, after: near.first { $0.time > time.best })
  }

  private mutating func add(_ gap: TimeSpan) {
    idleGaps.append(gap)
    if idleGaps.count > 2000 { idleGaps.removeFirst(1000) }
  }

  /// The backend's idle limit, when its idle closes agree on one: at least three, nine of ten within
  /// a fifth of the median (or half a second). Scattered gaps are no limit.
  var idleTimeout: Estimate? {
    guard idleGaps.count >= 3 else { return nil }
    let sorted = idleGaps.sorted()
    let median = sorted[sorted.count / 2]
    let low = sorted[sorted.count / 20]
    let high = sorted[min(sorted.count - 1, sorted.count * 19 / 20)]
    let spread = high - low
    guard median > .milliseconds(100),
      spread < max(.milliseconds(500), TimeSpan(nanoseconds: median.nanoseconds / 5))
    else { return nil }
    return Estimate(value: median, spread: spread, count: idleGaps.count)
  }
}
