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
    var instance: NginxInstance?
    if let nginxConfig {
      do {
        let loaded = try LoadedNginx(file: nginxConfig)
        instance = loaded.instance
        formats = loaded.accessLogFormats
      } catch { failures.append("\(error)") }
    }
    failures += openLogs(replay.logs, formats)
    if let instance { replay.observe(.nginx(instance)) }
    var options = TrackerOptions.attached
    if !upstream.isEmpty { options.upstreams = UpstreamArgument.filter(upstream) }
    if !pcap.isEmpty { replay.observe(.counters(Counters(source: "packets", seen: 0, lost: 0))) }
    for (index, path) in pcap.enumerated() {
      if let error = replay.packets(path, options, number: UInt64(index)) {
        failures.append("\(error)")
      }
    }
    for spot in blindSpots { replay.observe(.blindSpot(spot)) }
    let summary = replay.finish()
    failures += replay.logs.failures
    for failure in failures { complain("upclose: \(failure)") }
    if let failure = target.failure ?? printer.failure { throw fail(failure) }
    if !failures.isEmpty { throw Exit.failed }
    if summary.books.errors > 0 { throw Exit.found }
  }

  private var offset: Int { timeZone?.seconds ?? utcOffset(at: currentTime()) }

  private func openLogs(_ logs: ReplayLogs, _ configured: [AccessLogFormat]) -> [String] {
    var failures: [String] = []
    let zone = timeZone.map { LogZone.fixed(secondsEast: $0.seconds) } ?? .host
    var options = LogOptions(zone: zone, keepsQueryStrings: keepQueries)
    // The rest is counted: a long log is mostly other things.
    options.onlyUpstreamFailures = true
    for path in errorLog {
      do {
        logs.add(try ErrorLogFile(path, options: options))
      } catch { failures.append("\(error)") }
    }
    let given = logFormat.compactMap(AccessLogFormat.init(written:))
    let formats = given.isEmpty ? configured + AccessLogFormat.usual : given
    for path in accessLog {
      do {
        logs.add(try AccessLogFile(path, formats: formats, options: options))
      } catch { failures.append("\(error)") }
    }
    guard !kernelLog.isEmpty || !backendLog.isEmpty else { return failures }
    // Their lines may leave the year out.
    let reference = errorLog.compactMap { ErrorLogFile.lastMoment(of: $0, zone: zone) }.max()
    return failures + readKernelLogs(logs, reference) + openBackendLogs(logs, reference, options)
  }

  private func readKernelLogs(_ logs: ReplayLogs, _ reference: Timestamp?) -> [String] {
    var failures: [String] = []
    for path in kernelLog {
      let file = KernelLogFile(
        path: path, host: hostName(), bootTime: bootTime?.time, reference: reference,
        utcOffset: offset)
      do {
        let content = try file.read()
        logs.add(content.observations(at: reference ?? currentTime()), from: path)
        if let error = content.error { failures.append("\(error)") }
      } catch { failures.append("\(error)") }
    }
    return failures
  }

  private func openBackendLogs(
    _ logs: ReplayLogs, _ reference: Timestamp?, _ options: LogOptions
  ) -> [String] {
    guard !backendLog.isEmpty else { return [] }
    var failures: [String] = []
    // What a backend wrote matters near an error, so those are looked for beforehand.
    var errors: [TimeEstimate] = []
    for path in errorLog where path != "-" {
      guard let file = try? ErrorLogFile(path, options: options) else { continue }
      while let observation = try? file.next() {
        if case .nginxLine(let line) = observation.fact, line.message.isUpstreamFailure {
          errors.append(observation.time)
        }
      }
    }
    for log in backendLog {
      do {
        logs.add(
          try BackendLogFile(
            log.source, host: hostName(), failures: errors, utcOffset: offset,
            reference: reference))
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
