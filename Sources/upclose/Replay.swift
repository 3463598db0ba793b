import Correlator
import Evidence
import LinuxHost
import NginxProbe
import PacketProbe
import Report

/// Feeds files to a correlator in the order of time.
struct Replay {
  /// Errors say only the second, and a worker may have stalled: what is older than this is in.
  private static let lateness = TimeSpan.seconds(10)

  let logs = ReplayLogs()
  private let printer: SessionPrinter
  private var correlator = Correlator()
  private var advanced = Timestamp(nanoseconds: .min)
  /// The first and the last moment of what the files hold: books and blind spots have none.
  private var span: (first: Timestamp, last: Timestamp)?

  init(printer: SessionPrinter) { self.printer = printer }

  mutating func observe(_ fact: Observation.Fact) {
    let time = span?.last ?? logs.start ?? currentTime()
    give(Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: fact))
  }

  private mutating func give(_ observation: Observation) {
    correlator.observe(observation)
    printer.observe(observation)
  }

  /// - Parameter number: of the file; connections are numbered anew in each.
  mutating func packets(
    _ path: String, _ options: TrackerOptions, number: UInt64
  ) -> (any Error)? {
    // The state leaves `self` for the tracker's callback, and comes back.
    let feed = Feed(replay: self)
    func put(_ time: Timestamp, _ gaps: ReuseGaps) {
      feed.replay.correlator.observe(
        Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: .reuseGaps(gaps)))
    }
    let result = analyzeCapture(path: path, options: options, reuse: put) {
      var connection = $0
      connection.id |= number << 48
      feed.replay.put(connection)
    }
    self = feed.replay
    observe(.counters(Counters(packets: result.counters)))
    return result.error
  }

  private mutating func put(_ connection: Connection) {
    if !logs.keepsAll {
      // Errors that have packets beside them are worth each a look.
      release(until: connection.firstPacket - ReplayLogs.disorder)
      logs.keepsAll = true
    }
    release(until: connection.lastPacket)
    cover(connection.firstPacket)
    cover(connection.lastPacket)
    give(
      Observation(
        host: hostName(), time: TimeEstimate(exactly: connection.lastPacket),
        fact: .connection(connection)))
    advance(to: connection.lastPacket - Self.lateness)
  }

  private mutating func release(until time: Timestamp) {
    while let next = logs.next(until: time) {
      switch next.fact {
      case .nginxLine, .kernel, .nginxRequest, .nginxErrorCount, .backendLine:
        cover(next.time.best)
        advance(to: next.time.best - Self.lateness)
      default: break
      }
      give(next)
    }
  }

  private mutating func advance(to time: Timestamp) {
    guard time - advanced >= .seconds(1) || advanced.nanoseconds == .min else { return }
    advanced = time
    for incident in correlator.advance(to: time) { printer.print(incident) }
  }

  mutating func finish() -> Summary {
    logs.keepsAll = false
    release(until: Timestamp(nanoseconds: .max))
    for fact in logs.facts { observe(fact) }
    for incident in correlator.finish() { printer.print(incident) }
    var summary = correlator.summary()
    summary.started = span?.first
    summary.ended = span?.last
    printer.print(summary)
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
