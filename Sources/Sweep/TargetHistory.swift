public import Evidence

/// What the checks of one target have come to: up or down with hysteresis, flaps, outages, connect
/// times. Its size does not grow with time.
public struct TargetHistory: Sendable {
  public enum State: String, Sendable {
    case up, down
  }

  /// How many checks in a row change the state.
  public struct Hysteresis: Hashable, Sendable {
    public var rise: Int
    public var fall: Int
    public init(rise: Int = 2, fall: Int = 2) {
      self.rise = max(1, rise)
      self.fall = max(1, fall)
    }
  }

  /// A time without a good check that was long enough to count.
  public struct Outage: Hashable, Sendable {
    /// The first check that failed.
    public var start: Timestamp
    /// The first good one after it; nil while it lasts.
    public var end: Timestamp?
    /// Of the first check that failed, as `refused`.
    public var outcome: PortCheck.Outcome
    public var reason: String?

    public func duration(at now: Timestamp) -> TimeSpan { (end ?? now) - start }
  }

  /// What a check changed.
  public enum Change: Hashable, Sendable {
    /// The first check.
    case first(State)
    case down(Outage)
    case up(Outage)
  }

  /// nil before the first check.
  public private(set) var state: State?
  /// When the state began.
  public private(set) var since: Timestamp?
  public private(set) var checks: UInt64 = 0
  public private(set) var goodChecks: UInt64 = 0
  /// How often a good check was followed by a bad one, whether an outage came of it or not.
  public private(set) var flaps: UInt64 = 0
  public private(set) var outages: UInt64 = 0
  /// Of the outages that are over.
  public private(set) var downtime = TimeSpan.zero
  /// The latest ones, the current one last.
  public private(set) var recentOutages: [Outage] = []
  /// By `PortCheck.Outcome.allCases`.
  public private(set) var outcomeCounts: [UInt64]
  public private(set) var last: PortCheck?
  public private(set) var lastTime: Timestamp?
  public private(set) var connectTimes: ConnectTimes?

  private var runLength = 0
  private var runIsGood = true
  private var runStart: Outage?
  private let keepsTimes: Bool
  private static let mostOutages = 20

  /// - Parameter keepsTimes: whether it has percentiles of its own (a few KiB).
  public init(keepsTimes: Bool = true) {
    self.keepsTimes = keepsTimes
    outcomeCounts = Array(repeating: 0, count: PortCheck.Outcome.allCases.count)
  }

  /// Whether the last check was good; nil before the first.
  public var isLastGood: Bool? { runLength > 0 ? runIsGood : nil }
  public var isDown: Bool { state == .down }
  public var currentOutage: Outage? { isDown ? recentOutages.last : nil }

  public func count(of outcome: PortCheck.Outcome) -> UInt64 {
    PortCheck.Outcome.allCases.firstIndex(of: outcome).map { outcomeCounts[$0] } ?? 0
  }

  /// Takes in a check.
  /// - Parameters:
  ///   - isGood: open, and whatever else was asked of it.
  ///   - time: not before that of the check before.
  /// - Returns: what it changed, if anything.
  public mutating func observe(
    _ check: PortCheck, isGood: Bool, at time: Timestamp, _ hysteresis: Hysteresis
  ) -> Change? {
    checks += 1
    if isGood { goodChecks += 1 }
    if let index = PortCheck.Outcome.allCases.firstIndex(of: check.outcome) {
      outcomeCounts[index] += 1
    }
    if let connectTime = check.connectTime, keepsTimes { record(connectTime) }
    if runLength > 0, runIsGood, !isGood { flaps += 1 }
    if runLength == 0 || runIsGood != isGood {
      runLength = 0
      runIsGood = isGood
      runStart = Outage(start: time, outcome: check.outcome, reason: check.reason)
    }
    runLength += 1
    last = check
    lastTime = time
    return change(at: time, hysteresis)
  }

  /// One figure alone has no percentiles, and a single round over 100,000 targets no room for them.
  private var firstTime: TimeSpan?

  private mutating func record(_ time: TimeSpan) {
    guard connectTimes != nil || firstTime != nil else {
      firstTime = time
      return
    }
    if connectTimes == nil { connectTimes = ConnectTimes() }
    if let first = firstTime {
      connectTimes?.record(first)
      firstTime = nil
    }
    connectTimes?.record(time)
  }

  private mutating func change(at time: Timestamp, _ hysteresis: Hysteresis) -> Change? {
    switch state {
    case nil:
      state = runIsGood ? .up : .down
      since = time
      if !runIsGood { beginOutage() }
      return state.map { .first($0) }
    case .up where !runIsGood && runLength >= hysteresis.fall:
      state = .down
      since = runStart?.start
      return beginOutage().map { .down($0) }
    case .down where runIsGood && runLength >= hysteresis.rise:
      state = .up
      since = runStart?.start
      return endOutage().map { .up($0) }
    default: return nil
    }
  }

  @discardableResult
  private mutating func beginOutage() -> Outage? {
    outages += 1
    guard let outage = runStart else { return nil }
    if recentOutages.count == Self.mostOutages { recentOutages.removeFirst() }
    recentOutages.append(outage)
    return outage
  }

  private mutating func endOutage() -> Outage? {
    guard let start = runStart?.start, !recentOutages.isEmpty else { return nil }
    recentOutages[recentOutages.count - 1].end = start
    let outage = recentOutages[recentOutages.count - 1]
    downtime = downtime + outage.duration(at: start)
    return outage
  }
}
