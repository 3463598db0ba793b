import Evidence

/// Running statistics of one upstream.
struct UpstreamTally: Sendable {
  var statistics: UpstreamStatistics
  private(set) var habits = Habits()
  /// How often connections were reused after a gap of each length (`ReuseGaps.bucket`).
  private(set) var reuseGaps: [Int: UInt64] = [:]
  var latency = Latency()
  /// Some request of it was answered: known at once, before connections are counted.
  private var hasAnswered = false
  private var recentChecks: [(time: Timestamp, check: PortCheck)] = []
  /// The backend's latest closes, healthy ones too, in the order in which they were told.
  private var recentCloses: [(time: Timestamp, id: UInt64, served: Int?)] = []

  init(_ upstream: String) { statistics = UpstreamStatistics(upstream: upstream) }

  /// Requests that were seen to be answered, at least.
  var answered: Int {
    max(habits.answered + statistics.idleCloses, latency.count, hasAnswered ? 1 : 0)
      + Int(clamping: reuseGaps.values.reduce(0, &+))
  }

  /// How long the backend keeps an idle connection, as far as its closes tell.
  var idleTimeout: Estimate? { habits.idle.estimate }

  mutating func count(_ connection: Connection) {
    statistics.connectionsEnded += 1
    if connection.manner == .refused { statistics.refused += 1 }
    if connection.responderReset != nil, connection.manner != .refused { statistics.resets += 1 }
    if connection.closer == .originator { statistics.nginxCloses += 1 }
    habits.add(connection)
    guard connection.closer == .responder else { return }
    if connection.phase == .idle, connection.manner == .fin {
      statistics.idleCloses += 1
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
    recentChecks.append((time, check))
    if recentChecks.count > 600 { recentChecks.removeFirst(300) }
  }

  func checks(around time: TimeEstimate) -> PortChecks {
    // A check says something about its own moment; ten seconds later it is another story.
    let near = recentChecks.suffix(60).filter { ($0.time - time.best).magnitude < .seconds(10) }
    return PortChecks(
      before: near.last { $0.time <= time.best }.map { ($0.time, $0.check.outcome) },
      after: near.first { $0.time > time.best }.map { ($0.time, $0.check.outcome) },
      // What a port speaks changes seldom.
      speaksTLS: recentChecks.last { $0.check.speaksTLS != nil }?.check.speaksTLS)
  }

  /// A connection, as soon as it is told, and again when more is.
  mutating func note(_ connection: Connection) {
    if connection.exchanges.map({ $0 > 1 }) ?? false
      || connection.phase == .idle && connection.exchanges != 0
        && connection.responseBytes.map({ $0 > 0 }) ?? true && !connection.requestAfterFIN
    {
      hasAnswered = true
    }
    guard connection.closer == .responder, connection.manner != .refused,
      let closed = connection.closedAt
    else { return }
    if recentCloses.suffix(8).contains(where: { $0.id == connection.id }) { return }
    let isSoon = connection.idleBeforeClose.map { $0 <= .seconds(1) } ?? false
    let served = connection.phase == .idle && isSoon ? Habits.served(connection) : nil
    recentCloses.append((closed, connection.id, served))
    if recentCloses.count > 4096 { recentCloses.removeFirst(2048) }
  }

  /// How many other connections the backend closed within 50 ms of this one's close, where that is far
  /// more than it closes in other moments; else 0. One by one they go by their own timers, together
  /// they go with the process that held them.
  func closedTogether(with connection: Connection) -> Int {
    guard let closed = connection.closedAt else { return 0 }
    var together: Set<UInt64> = []
    var around = 0
    // The time that the closes known cover, besides that tenth of a second: they may be too many to
    // reach back a second.
    var (first, last) = (closed, closed)
    for close in recentCloses.reversed() {
      // They are told in about the order of time.
      if close.time < closed - .seconds(3) { break }
      let gap = (close.time - closed).magnitude
      if gap <= .milliseconds(50), close.id != connection.id {
        together.insert(close.id)
      } else if gap <= .milliseconds(1050) {
        around += 1
        first = min(first, close.time)
        last = max(last, close.time)
      }
    }
    // As many are to be expected as in the time around it, by its share; a Poisson count seldom exceeds
    // three times that and two more.
    let covered = max(0.1, (last - first).seconds - 0.1)
    let expected = Double(around) * 0.1 / covered
    let isMany = Double(together.count) >= 3 * expected + 2 || around == 0
    return isMany ? together.count : 0
  }

  /// The request limit that the latest closes show, before they are counted: four and more within half a
  /// minute, nearly all after the same number of answers.
  func recentLimit(at time: Timestamp) -> CountEstimate? {
    var served: [UInt64: Int] = [:]
    for close in recentCloses.reversed() {
      if close.time < time - .seconds(30) { break }
      // Of a connection that was told twice the last stands.
      if served[close.id] == nil, let number = close.served { served[close.id] = number }
    }
    let counts = Dictionary(served.values.map { ($0, 1) }, uniquingKeysWith: +)
    guard let (value, count) = counts.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }),
      value > 1, count >= 4, count * 10 >= served.count * 8
    else { return nil }
    return CountEstimate(value: value, count: count, of: served.count)
  }

  /// Everything measured, for a report.
  func measured() -> UpstreamStatistics {
    var all = statistics
    all.idleTimeout = habits.idle.latest
    all.requestLimit = habits.requestLimit
    all.requestAge = habits.age.latest
    all.sizeThreshold = habits.sizeThreshold
    all.mostOpen = habits.mostOpen
    all.reuses = reuseGaps.values.reduce(0, &+)
    return all
  }
}
