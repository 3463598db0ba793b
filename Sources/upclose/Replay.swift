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

  let logs = ReplayLogs()
  private let reporter: any SessionReporter
  private var correlator = Correlator()
  private var advanced = Timestamp(nanoseconds: .min)
  /// The first and the last moment of what the files hold: books and blind spots have none.
  private var span: (first: Timestamp, last: Timestamp)?
  /// The last packets of incidents that captures tell of.
  private let trails = TrailStore()
  /// Watermarks come of sessions: captures and logs are fitted in between.
  private let followsSessions: Bool
  /// Connections of captures that wait for the sessions' time, last first.
  private var waiting: [Observation] = []

  /// - Parameter followsSessions: sessions are to be played; what else is read waits for them.
  init(reporter: any SessionReporter, followsSessions: Bool = false) {
    self.reporter = reporter
    self.followsSessions = followsSessions
    // Errors that have packets beside them are worth each a look.
    logs.keepsAll = followsSessions
  }

  mutating func observe(_ fact: Observation.Fact) {
    let time = span?.last ?? logs.start ?? currentTime()
    give(Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: fact))
  }

  private mutating func give(_ observation: Observation) {
    correlator.observe(observation)
    reporter.observe(observation)
  }

  /// - Parameter number: of the file; connections are numbered anew in each.
  mutating func packets(
    _ path: String, _ options: TrackerOptions, number: UInt64
  ) -> (any Error)? {
    // The state leaves `self` for the tracker's callback, and comes back.
    let feed = Feed(replay: self)
    func put(_ time: Timestamp, _ fact: Observation.Fact) {
      feed.replay.give(
        Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: fact))
    }
    func reuse(_ time: Timestamp, _ gaps: ReuseGaps) { put(time, .reuseGaps(gaps)) }
    func answers(_ time: Timestamp, _ times: ResponseTimes) { put(time, .responseTimes(times)) }
    let result = analyzeCapture(
      path: path, options: options, reuse: reuse, answers: answers, trails: trails, number: number
    ) {
      var connection = $0
      connection.id |= number << 48
      feed.replay.put(connection)
    }
    self = feed.replay
    observe(.counters(Counters(packets: result.counters)))
    return result.error
  }

  private mutating func put(_ connection: Connection) {
    let observation = Observation(
      host: hostName(), time: TimeEstimate(exactly: connection.lastPacket),
      fact: .connection(connection))
    guard !followsSessions else {
      waiting.append(observation)
      return
    }
    if !logs.keepsAll {
      release(until: connection.firstPacket - ReplayLogs.disorder)
      logs.keepsAll = true
    }
    release(until: connection.lastPacket)
    cover(connection.firstPacket)
    cover(connection.lastPacket)
    give(observation)
    advance(to: connection.lastPacket - Self.lateness)
  }

  private mutating func release(until time: Timestamp, advances: Bool = true) {
    while let next = next(until: time) {
      switch next.fact {
      case .nginxLine, .kernel, .nginxRequest, .nginxErrorCount, .backendLine, .connection:
        cover(next.time.best)
        if advances { advance(to: next.time.best - Self.lateness) }
      default: break
      }
      give(next)
    }
  }

  /// The earlier of what waits and what the logs have.
  private mutating func next(until time: Timestamp) -> Observation? {
    guard let connection = waiting.last, connection.time.best <= time else {
      return logs.next(until: time)
    }
    return logs.next(until: connection.time.best) ?? waiting.popLast()
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
    waiting.sort { $1.time.best < $0.time.best }
    while let step = replay.next() {
      switch step {
      case .observe(let observation): give(observation)
      case .advance(let watermark):
        // The sessions' watermarks are the ones that count.
        release(until: watermark, advances: false)
        tell(correlator.advance(to: watermark))
      }
    }
  }

  /// - Parameter whatIf: changed settings whose effect is counted.
  mutating func finish(whatIf: [WhatIfSetting]) -> Summary {
    logs.keepsAll = followsSessions
    release(until: Timestamp(nanoseconds: .max))
    for fact in logs.facts { observe(fact) }
    tell(correlator.finish())
    var summary = correlator.summary(whatIf: whatIf)
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
