import CLinux
import Evidence
import Glibc
import LinuxHost

/// The follower's work, all of it on its own thread.
final class LogReader {
  /// How long before it is read a line may have been written, when the reader was waiting for it.
  /// inotify wakes it within a fraction of a millisecond; a saturated host may keep a thread that
  /// long from a processor.
  static let wakeLatency = TimeSpan.milliseconds(100)
  /// Also when inotify says nothing (a network file system, an overflow).
  private static let tick = TimeSpan.seconds(1)

  private let options: LogOptions
  private let inotify: Int32
  private(set) var logs: [FollowedLog] = []
  /// The standard input, if errors come from there too.
  private var pipe: PipedLog?
  private var parser: ErrorLogParser
  private var filter = DuplicateFilter()
  private var counts = LogCounts()
  private var requests = AccessLogCounts()
  /// Client connections that had errors, the oldest first.
  private var recentErrors: [UInt64] = []
  /// What was wrong with a log at the last tick, by its path, and what was told.
  private var troubled: [String: ProbeError] = [:]
  private var told: Set<ProbeError> = []

  init(options: LogOptions, inotify: Int32) {
    self.options = options
    self.inotify = inotify
    parser = options.parser
  }

  func follow(_ log: LogSource, fromEnd: Bool) {
    if log.path == LogSource.standardInput {
      if pipe == nil { pipe = PipedLog(log.path) }
      return
    }
    var access: AccessLogParser?
    if let format = log.format {
      // A format that cannot be read back is a blind spot of the configuration.
      guard
        let parser = try? AccessLogParser(
          format, zone: options.zone, keepsQueryStrings: options.keepsQueryStrings)
      else { return }
      access = parser
    }
    logs.append(FollowedLog(log.path, inotify: inotify, fromEnd: fromEnd, access: access))
  }

  /// Reads until the thread is to end.
  /// - Parameter sources: the logs to follow by now.
  func run(_ thread: ProbeThread, _ sink: ObservationSink, sources: () -> [LogSource]) {
    tellProblems(sink, atOnce: true)
    var nextTick = currentTime() + Self.tick
    // What was written between opening and now.
    service(nil, sink)
    while !thread.shouldStop {
      let now = currentTime()
      let isWaiting = logs.contains { $0.isWaiting(at: now) }
      let rest = (nextTick - now).nanoseconds / 1_000_000 + 1
      let timeout = Int32(min(max(rest, 0), isWaiting ? 50 : 1000))
      let piped = pipe.flatMap { $0.isAtEnd ? nil : $0.descriptor }
      let ready = thread.waitReadable([inotify] + (piped.map { [$0] } ?? []), milliseconds: timeout)
      if let piped, ready.contains(piped) { servicePipe(sink) }
      let news = ready.contains(inotify) ? readEvents() : []
      let isTick = currentTime() >= nextTick
      service(isTick || isWaiting || news == nil ? nil : news, sink)
      if isTick {
        nextTick = currentTime() + Self.tick
        for source in sources()
        where source.path != LogSource.standardInput
          && !logs.contains(where: { $0.path == source.path })
        {
          follow(source, fromEnd: true)
        }
        tellProblems(sink, atOnce: false)
        tellBooks(sink)
      }
    }
    service(nil, sink)
    tellBooks(sink)
  }

  /// Reads what came through the pipe.
  private func servicePipe(_ sink: ObservationSink) {
    guard let pipe else { return }
    let lastEmpty = pipe.lastEmpty
    let problem = pipe.service { entry, offset, arrival in
      // The same entry may stand in a log that is followed.
      guard logs.isEmpty || filter.isNew(entry, log: -1, at: arrival) else {
        counts.duplicates += 1
        return
      }
      take(entry, pipe.path, offset, arrival, lastEmpty, sink)
    }
    if let problem { sink(blindSpot(problem, isAccess: false)) }
  }

  /// Reads what is new in the logs that have these watches; in all, when nil.
  private func service(_ watches: Set<Int32>?, _ sink: ObservationSink) {
    // nginx writes an error before the request's line in the access log: what stands there by now has
    // its errors in the error logs, which are read first.
    let sizes = logs.map { $0.access == nil ? nil : $0.currentSize }
    let order =
      logs.indices.filter { logs[$0].access == nil }
      + logs.indices.filter { logs[$0].access != nil }
    for index in order {
      let log = logs[index]
      if let watches, watches.isDisjoint(with: log.watches) { continue }
      log.service(upTo: sizes[index]) { entry, offset, arrival, lastEmpty in
        if log.access != nil { return take(entry, log, offset, arrival, sink) }
        if logs.count > 1 || pipe != nil, !filter.isNew(entry, log: index, at: arrival) {
          counts.duplicates += 1
          return
        }
        take(entry, log.path, offset, arrival, lastEmpty, sink)
      }
    }
  }

  private func take(
    _ entry: Span<UInt8>, _ log: FollowedLog, _ offset: UInt64, _ arrival: Timestamp,
    _ sink: ObservationSink
  ) {
    requests.lines += 1
    switch log.access?.parse(entry, path: log.path, offset: offset, arrival: arrival) {
    case .request(let request, let time):
      requests.reported += 1
      sink(Observation(host: options.host, time: time, fact: .nginxRequest(request)))
    case .malformed: requests.notParsed += 1
    case .ordinary, nil: break
    }
  }

  private func take(
    _ entry: Span<UInt8>, _ path: String, _ offset: UInt64, _ arrival: Timestamp,
    _ lastEmpty: Timestamp?, _ sink: ObservationSink
  ) {
    switch parser.parse(entry, path: path, offset: offset, arrival: arrival) {
    case .line(var line):
      counts.lines += 1
      if line.message.isUpstreamFailure, let connection = line.connection { watch(connection) }
      let time = Self.estimate(&line, arrival: arrival, lastEmpty: lastEmpty)
      sink(Observation(host: options.host, time: time, fact: .nginxLine(line)))
    case .skipped:
      counts.lines += 1
      counts.skipped += 1
    case .malformed:
      counts.notParsed += 1
    }
  }

  /// Lets the access logs' lines of a connection that had an error be told in any case.
  private func watch(_ connection: UInt64) {
    guard logs.contains(where: { $0.access != nil }) else { return }
    if recentErrors.count >= 4096 {
      let old = recentErrors.removeFirst()
      for log in logs { log.access?.watchedConnections.remove(old) }
    }
    recentErrors.append(connection)
    for log in logs { log.access?.watchedConnections.insert(connection) }
  }

  /// When a line was written.
  ///
  /// nginx writes each at once, unbuffered (src/core/ngx_log.c:183), so a line that was not there at
  /// the last look was written since, and most likely just now. A line that was there at the first
  /// look may be older: then its stamp is all there is.
  static func estimate(
    _ line: inout NginxLine, arrival: Timestamp, lastEmpty: Timestamp?
  ) -> TimeEstimate {
    guard let lastEmpty else {
      return TimeEstimate(stamped: line.stamped, notAfter: arrival)
    }
    correctZone(&line, arrival: arrival)
    let bound = max(lastEmpty, arrival - wakeLatency)
    // A stamp in the future (another host's clock) says nothing.
    let stamped = line.stamped <= arrival ? line.stamped : bound
    return TimeEstimate(best: arrival, earliest: max(bound, stamped), latest: arrival)
  }

  /// An nginx in a container mostly runs in UTC, whatever its host does. A line that has just been
  /// written but is stamped whole quarters of an hour off comes from another zone.
  private static func correctZone(_ line: inout NginxLine, arrival: Timestamp) {
    let quarter = TimeSpan.seconds(900).nanoseconds
    let off = (arrival - line.stamped).nanoseconds
    // From a second early (the two clocks) to a second and the longest stall late.
    let slack = TimeSpan.seconds(1).nanoseconds
    let quarters =
      (off + slack) >= 0 ? (off + slack) / quarter : (off + slack - quarter + 1) / quarter
    guard quarters != 0, abs(quarters) <= 14 * 4 else { return }
    let rest = off - quarters * quarter
    guard rest <= (TimeSpan.seconds(1) + TimeEstimate.stallAllowance).nanoseconds else { return }
    line.stamped = line.stamped + TimeSpan(nanoseconds: quarters * quarter)
  }

  /// The watches that have news; nil when inotify lost some.
  private func readEvents() -> Set<Int32>? {
    var watches: Set<Int32> = []
    var overflow = false
    withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { buffer in
      while true {
        let count = read(inotify, buffer.baseAddress, buffer.count)
        guard count > 0 else { return }
        var offset = 0
        while offset + MemoryLayout<inotify_event>.size <= count {
          let event = buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
          if event.mask & UInt32(IN_Q_OVERFLOW) != 0 { overflow = true }
          watches.insert(event.wd)
          offset += MemoryLayout<inotify_event>.size + Int(event.len)
        }
      }
    }
    return overflow ? nil : watches
  }

  /// Says what is wrong with a log, once, and not while it is merely being rotated.
  private func tellProblems(_ sink: ObservationSink, atOnce: Bool) {
    for log in logs {
      guard let problem = log.problem else {
        troubled[log.path] = nil
        continue
      }
      if atOnce || troubled[log.path] == problem, told.insert(problem).inserted {
        sink(blindSpot(problem, isAccess: log.access != nil))
      }
      troubled[log.path] = problem
    }
  }

  private func tellBooks(_ sink: ObservationSink) {
    sink(counters())
    guard logs.contains(where: { $0.access != nil }) else { return }
    let now = TimeEstimate(exactly: currentTime())
    sink(Observation(host: options.host, time: now, fact: .counters(requests.counters)))
    for log in logs {
      for traffic in log.access?.takeTraffic() ?? [] {
        sink(Observation(host: options.host, time: now, fact: .upstreamTraffic(traffic)))
      }
    }
  }

  private func counters() -> Observation {
    var all = counts
    all.notParsed += pipe?.strayLines ?? 0
    for log in logs {
      all.notParsed += log.notParsed
      all.rotations += log.rotations
    }
    return Observation(
      host: options.host, time: TimeEstimate(exactly: currentTime()), fact: .counters(all.counters))
  }

  private func blindSpot(_ problem: ProbeError, isAccess: Bool) -> Observation {
    let spot = BlindSpot(
      id: isAccess ? "access-log" : "error-log", what: "cannot \(problem.doing): \(problem.reason)",
      cost: isAccess
        ? "what became of requests is not seen" : "errors written there are not seen",
      remedy: problem.remedy)
    return Observation(
      host: options.host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot))
  }
}
