public import Evidence

/// When something is due. Time is cut into ticks, and all work is done at a tick, so that what is
/// done does not hang on how often, or in how large steps, the correlator is told that time passes:
/// `advance(to: a)` and then `advance(to: b)` do what `advance(to: b)` alone does. A recording needs
/// only the last watermark before each observation, and only where its tick has changed.
struct Schedule: Sendable {
  /// The last tick whose work is done.
  private(set) var done = Int64.min
  /// The earliest verdict, count and sweep that may be due; no later than the truth.
  private var verdict = Int64.max
  private var count = Int64.max
  private var sweep = Int64.max
  /// Errors were settled at this tick last.
  var settled = Int64.min / 2

  /// The first tick at or after a moment.
  static func tick(at time: Timestamp) -> Int64 {
    let length = Correlator.tick.nanoseconds
    let whole = time.nanoseconds / length
    return time.nanoseconds > whole * length ? whole + 1 : whole
  }

  /// The last tick at or before a moment.
  static func lastTick(before time: Timestamp) -> Int64 {
    let length = Correlator.tick.nanoseconds
    let whole = time.nanoseconds / length
    return time.nanoseconds < whole * length ? whole - 1 : whole
  }

  static func time(of tick: Int64) -> Timestamp {
    Timestamp(nanoseconds: tick &* Correlator.tick.nanoseconds)
  }

  private static func rounded(_ tick: Int64, to step: Int64) -> Int64 {
    let rest = ((tick % step) + step) % step
    return rest == 0 ? tick : tick + step - rest
  }

  mutating func expectVerdict(of error: Correlator.OpenError) {
    verdict = min(verdict, Self.tick(at: error.time.latest + Correlator.settling))
  }

  /// Connections are counted each half second: thousands end in one on a busy nginx without keepalive.
  mutating func expectCount(of connection: Connection) {
    let due = Self.tick(at: connection.lastPacket + Correlator.counting)
    count = min(count, Self.rounded(due, to: 10))
  }

  /// Closes are forgotten each second.
  mutating func expectSweep(ofCloseAt time: Timestamp) {
    sweep = min(sweep, Self.rounded(Self.tick(at: time + Correlator.remembering), to: 20))
  }

  /// The next tick up to `last` at which something is due; nil: nothing before the next observation.
  /// - Parameters:
  ///   - isDoubtful: an incident is to be looked at again.
  ///   - isFlood: so many errors wait that they are settled each quarter of a second only.
  func next(until last: Int64, isDoubtful: Bool, isFlood: Bool) -> Int64? {
    var due = min(count, sweep)
    due = min(due, isFlood ? max(verdict, settled + 5) : verdict)
    if isDoubtful { due = min(due, done + 1) }
    due = max(due, done == .min ? due : done + 1)
    return due <= last ? due : nil
  }

  mutating func begin(_ tick: Int64) { done = tick }
  mutating func end(at last: Int64) { done = max(done, last) }

  func isVerdictDue(isFlood: Bool) -> Bool {
    verdict <= done && (!isFlood || done - settled >= 5)
  }
  var isCountDue: Bool { count <= done }
  var isSweepDue: Bool { sweep <= done }

  mutating func verdictsGiven(waiting: [Correlator.OpenError]) {
    settled = done
    verdict = .max
    for error in waiting { expectVerdict(of: error) }
  }

  mutating func counted(waiting: some Sequence<Connection>) {
    count = .max
    for connection in waiting { expectCount(of: connection) }
  }

  mutating func swept(oldest: Timestamp?) {
    sweep = .max
    guard let oldest else { return }
    expectSweep(ofCloseAt: oldest)
    // What an error that still waits may need was kept, though it is old.
    sweep = max(sweep, Self.rounded(done + 1, to: 20))
  }
}

extension Correlator {
  /// The grain of time: a watermark within the same tick says nothing new.
  public static let tick = TimeSpan.milliseconds(50)
  /// How long after its last packet a connection is counted.
  static let counting = TimeSpan.seconds(2)
  /// How long a close that nothing claimed may still explain an error.
  static let remembering = TimeSpan.seconds(30)

  /// Says that all observations up to this time are in. A watermark that goes back is passed over.
  /// - Returns: incidents that stand now for the first time, or whose verdict has changed.
  public mutating func advance(to watermark: Timestamp) -> [Incident] {
    let last = Schedule.lastTick(before: watermark)
    var given: [Incident] = []
    while let tick = schedule.next(
      until: last, isDoubtful: standing.isDoubtful, isFlood: isFlood)
    {
      schedule.begin(tick)
      given += work(at: Schedule.time(of: tick))
    }
    schedule.end(at: last)
    return given
  }

  /// Says that nothing more comes.
  public mutating func finish() -> [Incident] {
    advance(to: Timestamp(nanoseconds: .max / 2))
  }

  /// In a flood of errors the matching is done for a quarter of a second's worth at once.
  private var isFlood: Bool { pending.count >= 500 }

  private mutating func work(at now: Timestamp) -> [Incident] {
    standing.expire(before: now - Self.settling - Self.revising)
    if schedule.isCountDue { countConnections(before: now - Self.counting) }
    var given = revise()
    if schedule.isVerdictDue(isFlood: isFlood) {
      let due = pending.filter { $0.time.latest + Self.settling <= now }
      if !due.isEmpty { given += settle(Set(due.map(\.id))) }
      schedule.verdictsGiven(waiting: pending)
    }
    if schedule.isSweepDue { sweep(before: now - Self.remembering) }
    return given
  }

  private mutating func settle(_ due: Set<Int>) -> [Incident] {
    let matches = matching().solve(pending)
    var given: [Incident] = []
    for error in pending where due.contains(error.id) {
      let match = matches[error.id] ?? .none
      if let close = match.close {
        closes[close.flow.responder]?.claim(close.id, for: error.id)
      }
      let (incident, facts) = incident(for: error, match: match, revision: 1)
      findings.add(incident, facts)
      count(incident, by: 1)
      standing.add(error, incident)
      given.append(incident)
    }
    pending.removeAll { due.contains($0.id) }
    return given
  }

  func matching() -> Matching {
    Matching(
      closes: closes, workers: host.workers, isForeign: isOwnProbe,
      attempt: access.isEmpty
        ? { _ in nil } : { access.answer(to: $0.line, at: $0.time)?.attempt(of: $0.line) })
  }

  /// Forgets what no error can need any more.
  private mutating func sweep(before horizon: Timestamp) {
    // An error that still waits may need closes as old as its own time allows.
    let earliest = pending.map(\.time.earliest).min().map { $0 - Self.remembering }
    // No log is wrong by minutes.
    let limit = max(min(horizon, earliest ?? horizon), horizon - .seconds(120))
    for endpoint in Array(closes.keys) {
      let lonely = closes[endpoint]?.forget(before: limit) ?? []
      countUnexplained(lonely.filter { !isOwnProbe($0) }, at: endpoint)
    }
    ownProbes = ownProbes.filter { $0.value > horizon - .seconds(90) }
    let oldestCheck = ownProbes.values.min().map { $0 + .seconds(90) }
    schedule.swept(
      oldest: [closes.values.compactMap(\.oldest).min(), oldestCheck].compactMap { $0 }.min())
  }

  /// Counts connections once, when no more is expected of them.
  private mutating func countConnections(before time: Timestamp) {
    let settled = fresh.values.filter { $0.lastPacket <= time }.sorted { $0.id < $1.id }
    for connection in settled {
      fresh[connection.id] = nil
      if isOwnProbe(connection) { continue }
      withTally(connection.flow.responder) { $0.count(connection) }
      if let served = Habits.served(connection), served > 0,
        let owner = host.owners(of: connection).last
      {
        host.lineage.count(requests: served, by: owner.pid)
      }
    }
    schedule.counted(waiting: fresh.values)
  }
}
