import ArgumentParser
import BackendProbe
import Correlator
import Evidence
import KernelProbe
import LinuxHost
import NginxProbe
import PacketProbe
import Report

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "The same verdicts from files: a capture, nginx's error log, the kernel's log.",
    discussion: """
      Needs no root. What is not given is a blind spot of the report. Error logs say only the second, \
      in local time: give --time-zone if they are from elsewhere.

        upclose replay --pcap upstream.pcap --error-log error.log --kernel-log dmesg.txt
      """)

  @Option(parsing: .singleValue, help: ArgumentHelp("A pcap or pcapng file.", valueName: "file"))
  var pcap: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("An nginx error log (- for stdin).", valueName: "file"))
  var errorLog: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("An nginx access log (- for stdin).", valueName: "file"))
  var accessLog: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "The access log's log_format as nginx.conf has it, if --nginx-config is not given.",
      valueName: "text"))
  var logFormat: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "The output of dmesg, dmesg -T, dmesg --json or journalctl -k, or kern.log.",
      valueName: "file"))
  var kernelLog: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "A backend's own log: gunicorn, uWSGI, php-fpm, Puma, Apache, HAProxy, node, or journalctl -o json.",
      valueName: "file[=address:port]"))
  var backendLog: [BackendLogArgument] = []

  @Option(
    help: ArgumentHelp(
      "The output of nginx -T, or nginx.conf itself.", valueName: "file"))
  var nginxConfig: String?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "An upstream's address and port (or :port); may be given several times.",
      valueName: "address:port"))
  var upstream: [UpstreamArgument] = []

  @Option(
    help: ArgumentHelp(
      "Offset of the logs' local time, as +01:00 (this host's zone if not given).",
      valueName: "offset"))
  var timeZone: OffsetArgument?

  @Option(
    help: ArgumentHelp(
      "When the kernel started (ISO 8601), for a dmesg without dates.", valueName: "time"))
  var bootTime: TimeArgument?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      """
      Count what a setting would have changed, as keepalive_timeout=4s (also keepalive_requests, \
      keepalive, proxy_next_upstream, proxy_read_timeout, max_fails); may be given several times.
      """,
      valueName: "directive=value"))
  var whatIf: [WhatIfArgument] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Also write the report to this file: .html, .md or .json.", valueName: "file"))
  var report: [ReportArgument] = []

  @Flag(help: "Keep query strings in the report.")
  var keepQueries = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if pcap.isEmpty, errorLog.isEmpty, kernelLog.isEmpty, accessLog.isEmpty {
      throw ValidationError("give at least --error-log FILE or --pcap FILE")
    }
  }

  func run() throws {
    let target: Output
    let reports: [ReportFile]
    do {
      target = try Output(path: output.output)
      reports = try report.map(ReportFile.init)
    } catch { throw fail("\(error)") }
    let printer = SessionPrinter(
      output: target, options: output, utcOffset: offset, reports: reports)
    var replay = Replay(printer: printer)
    var failures: [String] = []
    var formats: [AccessLogFormat] = []
    if let nginxConfig {
      do {
        let loaded = try LoadedNginx(file: nginxConfig)
        replay.observe(.nginx(loaded.instance))
        formats = loaded.accessLogFormats
      } catch { failures.append("\(error)") }
    }
    failures += readLogs(&replay)
    failures += readAccessLogs(&replay, formats)
    failures += readBackendLogs(&replay)
    var options = TrackerOptions.attached
    if !upstream.isEmpty { options.upstreams = UpstreamArgument.filter(upstream) }
    if !pcap.isEmpty { replay.observe(.counters(Counters(source: "packets", seen: 0, lost: 0))) }
    for (index, path) in pcap.enumerated() {
      if let error = replay.packets(path, options, number: UInt64(index)) {
        failures.append("\(error)")
      }
    }
    for spot in blindSpots { replay.observe(.blindSpot(spot)) }
    let summary = replay.finish(whatIf: whatIf.map(\.setting))
    for failure in failures { complain("upclose: \(failure)") }
    if let failure = target.failure ?? printer.failure { throw fail(failure) }
    if !failures.isEmpty { throw Exit.failed }
    if summary.books.errors > 0 { throw Exit.found }
  }

  private var offset: Int { timeZone?.seconds ?? utcOffset(at: currentTime()) }

  /// Reads the logs whole; what could be read before an error is kept.
  private func readLogs(_ replay: inout Replay) -> [String] {
    var failures: [String] = []
    let zone = timeZone.map { LogZone.fixed(secondsEast: $0.seconds) } ?? .host
    var options = LogOptions(zone: zone, keepsQueryStrings: keepQueries)
    // The rest is counted: a long log is mostly other things.
    options.onlyUpstreamFailures = true
    for path in errorLog {
      do {
        let file = try ErrorLogFile(
          path, options: options)
        do {
          while let observation = try file.next() { replay.queue(observation) }
        } catch { failures.append("\(error)") }
        replay.observe(.counters(file.counters))
      } catch { failures.append("\(error)") }
    }
    for path in kernelLog {
      let file = KernelLogFile(
        path: path, host: hostName(), bootTime: bootTime?.time, reference: replay.lastLine,
        utcOffset: offset)
      do {
        let content = try file.read()
        for observation in content.observations(at: replay.lastLine ?? currentTime()) {
          replay.queue(observation)
        }
        if let error = content.error { failures.append("\(error)") }
      } catch { failures.append("\(error)") }
    }
    return failures
  }

  private func readAccessLogs(
    _ replay: inout Replay, _ configured: [AccessLogFormat]
  ) -> [String] {
    var failures: [String] = []
    let zone = timeZone.map { LogZone.fixed(secondsEast: $0.seconds) } ?? .host
    let given = logFormat.compactMap(AccessLogFormat.init(written:))
    let formats = given.isEmpty ? configured + AccessLogFormat.usual : given
    for path in accessLog {
      do {
        let file = try AccessLogFile(
          path, formats: formats, options: LogOptions(zone: zone, keepsQueryStrings: keepQueries),
          watchedConnections: replay.errorConnections)
        do {
          while let observation = try file.next() { replay.queue(observation) }
        } catch { failures.append("\(error)") }
        replay.observe(.counters(file.counters))
        if let format = file.format, let spot = format.blindSpot {
          replay.observe(.blindSpot(spot))
        }
      } catch { failures.append("\(error)") }
    }
    return failures
  }

  private func readBackendLogs(_ replay: inout Replay) -> [String] {
    var failures: [String] = []
    let errors = replay.errorTimes
    for log in backendLog {
      do {
        let file = try BackendLogFile(
          log.source, host: hostName(), failures: errors, utcOffset: offset,
          reference: replay.lastLine)
        do {
          while let observation = try file.next() { replay.queue(observation) }
        } catch { failures.append("\(error)") }
        replay.observe(.counters(file.counters))
        if let spot = file.blindSpot { replay.observe(.blindSpot(spot)) }
      } catch { failures.append("\(error)") }
    }
    return failures
  }

  private var blindSpots: [BlindSpot] {
    var spots: [BlindSpot] = []
    if pcap.isEmpty {
      spots.append(
        BlindSpot(
          id: "packets", what: "no capture was given", cost: "no error can be joined to its close",
          remedy: "record one next time: tcpdump -i any -s 256 -w F 'tcp port PORT'"))
    }
    if kernelLog.isEmpty {
      spots.append(
        BlindSpot(
          id: "kernel-log", what: "no kernel log was given",
          cost: "an OOM kill or a crash looks like a close by choice",
          remedy: "add --kernel-log (dmesg -T > F)"))
    }
    spots.append(
      BlindSpot(
        id: "processes", what: "files name no process behind a port",
        cost: "which process owned a connection is not known"))
    return spots
  }
}

/// A changed setting on the command line.
struct WhatIfArgument: ExpressibleByArgument {
  var setting: WhatIfSetting

  init?(argument: String) {
    guard let setting = WhatIfSetting(argument) else { return nil }
    self.setting = setting
  }
}

/// Feeds files to a correlator in the order of time.
private struct Replay {
  /// Errors say only the second, and a worker may have stalled: what is older than this is in.
  private static let lateness = TimeSpan.seconds(10)

  private let printer: SessionPrinter
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

  init(printer: SessionPrinter) { self.printer = printer }

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
    printer.observe(observation)
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
    func put(_ time: Timestamp, _ fact: Observation.Fact) {
      feed.replay.correlator.observe(
        Observation(host: hostName(), time: TimeEstimate(exactly: time), fact: fact))
    }
    func reuse(_ time: Timestamp, _ gaps: ReuseGaps) { put(time, .reuseGaps(gaps)) }
    func answers(_ time: Timestamp, _ times: ResponseTimes) { put(time, .responseTimes(times)) }
    let result = analyzeCapture(path: path, options: options, reuse: reuse, answers: answers) {
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
    while let next = queued.last, next.time.best <= time {
      give(next)
      queued.removeLast()
    }
  }

  private mutating func advance(to time: Timestamp) {
    guard time - advanced >= .seconds(1) || advanced.nanoseconds == .min else { return }
    advanced = time
    for incident in correlator.advance(to: time) { printer.print(incident) }
  }

  mutating func finish(whatIf: [WhatIfSetting]) -> Summary {
    sortQueue()
    while let next = queued.last {
      release(until: next.time.best)
      advance(to: next.time.best - Self.lateness)
    }
    for incident in correlator.finish() { printer.print(incident) }
    var summary = correlator.summary(whatIf: whatIf)
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
