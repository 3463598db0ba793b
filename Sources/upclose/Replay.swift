import Correlator
import Evidence
import LinuxHost
import PacketProbe
import Session

/// What hears of a session: all that is observed, each incident as it stands, and the summary.
protocol SessionReporter: AnyObject {
  func observe(_ observation: Observation)
  func print(_ incident: Incident)
  func print(_ summary: Summary)
}

/// Feeds files to a correlator in the order of time.
struct Replay {
  /// Errors say only the second, and a worker may have stalled: what is older than this is in.
  private static let lateness = TimeSpan.seconds(10)

  private let reporter: any SessionReporter
  private var correlator = Correlator()
  private var queued: [Observation] = []
  private var isSorted = false
  private var advanced = Timestamp(nanoseconds: .min)
  /// The last moment that a log named.
  private(set) var lastLine: Timestamp?
  /// Client connections that had errors.
  private(set) var errorConnections: Set<UInt64> = []
  /// The first and the last moment of what the files hold: books and blind spots have none.
  private var span: (first: Timestamp, last: Timestamp)?

  /// The last packets of incidents that captures tell of.
  private let trails = TrailStore()
  /// Watermarks come of sessions: captures and logs are fitted in between.
  private var followsSessions: Bool

  /// - Parameter followsSessions: sessions are to be played; what else is read waits for them.
  init(reporter: any SessionReporter, followsSessions: Bool = false) {
    self.reporter = reporter
    self.followsSessions = followsSessions
  }

  /// When nginx's errors happened.
  var errorTimes: [TimeEstimate] {
    queued.compactMap { if case .nginxLine = $0.fact { $0.time } else { nil } }
  }

  mutating func observe(_ fact: Observation.Fact) {
    let time = lastLine ?? currentTime()
    give(Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: fact))
  }

  private mutating func give(_ observation: Observation) {
    correlator.observe(observation)
    reporter.observe(observation)
  }

  /// Keeps a log's entry until the packets have come so far; what is no event, as the books of a log,
  /// counts from the start, and nginx's chatter is passed over.
  mutating func queue(_ observation: Observation) {
    switch observation.fact {
    case .nginxLine(let line) where !line.message.isUpstreamFailure: return
    case .nginxLine, .kernel, .nginxRequest, .backendLine:
      if case .nginxLine(let line) = observation.fact, let connection = line.connection {
        errorConnections.insert(connection)
      }
      queued.append(observation)
      cover(observation.time.best)
      lastLine = max(lastLine ?? observation.time.best, observation.time.best)
    default: give(observation)
    }
  }

  /// - Parameter number: of the file; connections are numbered anew in each.
  mutating func packets(
    _ path: String, _ options: TrackerOptions, number: UInt64
  ) -> (any Error)? {
    sortQueue()
    // The state leaves `self` for the tracker's callback, and comes back.
    let feed = Feed(replay: self)
    func put(_ time: Timestamp, _ gaps: ReuseGaps) {
      feed.replay.give(
        Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: .reuseGaps(gaps)))
    }
    let result = analyzeCapture(
      path: path, options: options, reuse: put, trails: trails, number: number
    ) {
      var connection = $0
      connection.id |= number << 48
      feed.replay.put(connection)
    }
    self = feed.replay
    observe(.counters(Counters(packets: result.counters)))
    return result.error
  }

  private mutating func sortQueue() {
    guard !isSorted else { return }
    // Last first, so that the next is taken off the end.
    queued = queued.enumerated()
      .sorted { ($1.element.time.best, $1.offset) < ($0.element.time.best, $0.offset) }
      .map(\.element)
    isSorted = true
  }

  private mutating func put(_ connection: Connection) {
    cover(connection.firstPacket)
    cover(connection.lastPacket)
    let observation = Observation(
      host: hostName(), time: TimeEstimate(exactly: connection.lastPacket),
      fact: .connection(connection))
    guard !followsSessions else {
      queued.append(observation)
      isSorted = false
      return
    }
    release(until: connection.lastPacket)
    give(observation)
    advance(to: connection.lastPacket - Self.lateness)
  }

  private mutating func release(until time: Timestamp) {
    while let next = queued.last, next.time.best <= time {
      give(next)
      queued.removeLast()
    }
  }

  private mutating func advance(to time: Timestamp) {
    guard time - advanced >= .seconds(1) || advanced.nanoseconds == .min else { return }
    advanced = time
    tell(correlator.advance(to: time))
  }

  private mutating func tell(_ incidents: [Incident]) {
    for incident in incidents {
      reporter.print(incident)
      guard let close = incident.close, let kept = trails[close.connection],
        let last = kept.trail.packets.last
      else { continue }
      give(
        Observation(
          host: hostName(), time: TimeEstimate(exactly: last.time), fact: .packets(kept.trail)))
    }
  }

  /// Plays recorded sessions, with what waits of other files in between.
  mutating func play(_ replay: SessionReplay) {
    sortQueue()
    while let step = replay.next() {
      switch step {
      case .observe(let observation): give(observation)
      case .advance(let watermark):
        release(until: watermark)
        tell(correlator.advance(to: watermark))
      }
    }
  }

  mutating func finish() -> Summary {
    sortQueue()
    while let next = queued.last {
      release(until: next.time.best)
      advance(to: next.time.best - Self.lateness)
    }
    tell(correlator.finish())
    var summary = correlator.summary()
    // A session's own time is as it was.
    if !followsSessions {
      summary.started = span?.first
      summary.ended = span?.last
    }
    reporter.print(summary)
    return summary
  }

  private mutating func cover(_ time: Timestamp) {
    span = (min(span?.first ?? time, time), max(span?.last ?? time, time))
  }

  private final class Feed {
    var replay: Replay
    init(replay: Replay) { self.replay = replay }
  }
}
