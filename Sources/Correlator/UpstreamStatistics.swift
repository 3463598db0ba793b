public import Evidence

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
  /// What the access log says of it; nil without one.
  public var traffic: UpstreamTraffic?
}

/// Running statistics of one upstream.
struct UpstreamTally {
  var statistics: UpstreamStatistics
  private var idleGaps: [TimeSpan] = []
  private var gapsSinceEstimate = 0
  /// How often connections were reused after a gap of each length (`ReuseGaps.bucket`).
  private(set) var reuseGaps: [Int: UInt64] = [:]
  /// How long the backend keeps an idle connection, as far as its closes tell.
  private(set) var idleTimeout: Estimate?
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
    } else if connection.phase == .unknown, connection.manner == .fin {
      // Light capture: idle or not, nobody knows.
    } else if connection.manner != .refused {
      statistics.abnormalCloses += 1
    }
  }

  mutating func count(_ closes: OrdinaryCloses) {
    statistics.connectionsEnded += closes.byResponder + closes.byOriginator + closes.inUnknownPhase
    statistics.idleCloses += closes.byResponder
    statistics.nginxCloses += closes.byOriginator
  }

  mutating func count(_ gaps: ReuseGaps) { reuseGaps.merge(gaps.counts) { $0 &+ $1 } }

  mutating func count(_ check: PortCheck, at time: Timestamp) {
    statistics.checks += 1
    if check.outcome == .open { statistics.checksOpen += 1 }
    recentChecks.append((time, check.outcome))
    if recentChecks.count > 600 { recentChecks.removeFirst(300) }
  }

  func checks(around time: TimeEstimate) -> PortChecks {
    // A check says something about its own moment; ten seconds later it is another story.
    let near = recentChecks.suffix(60).filter { ($0.time - time.best).magnitude < .seconds(10) }
    return PortChecks(
      before: near.last { $0.time <= time.best }, after: near.first { $0.time > time.best })
  }

  private mutating func add(_ gap: TimeSpan) {
    idleGaps.append(gap)
    gapsSinceEstimate += 1
    // Every error asks for it; with many gaps an eighth more changes little, and sorting them for each
    // close of a busy upstream would cost more than all else.
    if gapsSinceEstimate > idleGaps.count / 8 || idleGaps.count < 50 {
      idleTimeout = crowdedGap()
      gapsSinceEstimate = 0
    }
    if idleGaps.count > 2000 { idleGaps.removeFirst(1000) }
  }

  /// The backend's idle limit: the length that its idle closes crowd around. Closes that come sooner
  /// have other reasons (a process that ended, a deploy), so at least three, and half of all, must
  /// lie within a tenth of each other (or 200 ms). Scattered gaps are no limit.
  private func crowdedGap() -> Estimate? {
    let sorted = idleGaps.sorted()
    var best = 0..<0
    var end = 0
    for start in sorted.indices {
      let first = sorted[start]
      let width = max(.milliseconds(200), TimeSpan(nanoseconds: first.nanoseconds / 10))
      end = max(end, start)
      while end < sorted.count, sorted[end] - first <= width { end += 1 }
      // Of equal crowds the longer gaps: nothing outlives the limit.
      if end - start >= best.count { best = start..<end }
    }
    guard best.count >= 3, best.count * 2 >= sorted.count else { return nil }
    let crowd = sorted[best]
    let median = crowd[best.lowerBound + best.count / 2]
    guard median > .milliseconds(100) else { return nil }
    let spread = crowd[best.upperBound - 1] - crowd[best.lowerBound]
    return Estimate(value: median, spread: spread, count: best.count)
  }
}
