import ArgumentParser
import BackendProbe
import CaptureFile
import Correlator
import Evidence
import Glibc
import KernelProbe
import LinuxHost
import NginxProbe
import PacketProbe
import Session

/// The files that a session is made of afterwards: recorded sessions, captures, logs; in `replay` and
/// in `report`.
struct ReplayInputs: ParsableArguments {
  @Argument(
    help: ArgumentHelp(
      "Recorded sessions (attach --record), of one host or several; or captures.",
      valueName: "file"))
  var files: [String] = []

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

  @Flag(help: "Keep query strings in the report.")
  var keepQueries = false

  var isEmpty: Bool {
    files.isEmpty && pcap.isEmpty && errorLog.isEmpty && kernelLog.isEmpty && accessLog.isEmpty
  }

  /// What the files turned out to be.
  struct Found {
    var sessions: [SessionFile] = []
    /// Plain captures.
    var captures: [String] = []
    var failures: [String] = []

    /// Where packets are: the host's with the errors comes first.
    var captureFiles: [String] {
      let sorted = sessions.filter(\.hasErrors) + sessions.filter { !$0.hasErrors }
      var paths: [String] = []
      for path in sorted.map(\.path) + captures where !paths.contains(path) { paths.append(path) }
      return paths.filter { $0 != "-" }
    }
  }

  /// Looks into the files: a session is known by what is in it.
  func look() -> Found {
    var found = Found()
    found.captures = pcap
    var empty: [String] = []
    for name in files {
      guard let path = name == "-" ? Self.spooled() : name else {
        found.failures.append("standard input cannot be kept: \(errorText(errno))")
        continue
      }
      do throws(CaptureError) {
        let content = try SessionFile.content(of: path)
        found.sessions += content.sessions
        if content.sessions.isEmpty { found.captures.append(path) }
        if let error = content.error, !error.isCutShort, !content.sessions.isEmpty {
          found.failures.append("\(error)")
        }
      } catch {
        if error.isEmptyFile { empty.append("\(error)") } else { found.failures.append("\(error)") }
      }
    }
    // Of a recording that rotates, files whose turn has not come are empty.
    if found.sessions.isEmpty { found.failures += empty }
    return found
  }

  /// Standard input as a file, for sessions are read twice: once to know what they are.
  /// - Returns: nil when there is no place for it, with errno.
  private static func spooled() -> String? {
    var path = Array(
      ((getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")
        + "/upclose-XXXXXX").utf8CString)
    let descriptor = mkstemp(&path)
    guard descriptor >= 0 else { return nil }
    unlink(path)
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(STDIN_FILENO, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      var written = 0
      while written < count {
        let step = chunk[written..<count].withUnsafeBytes {
          write(descriptor, $0.baseAddress, $0.count)
        }
        guard step > 0 else { return nil }
        written += step
      }
    }
    // It lives as long as the process.
    return "/proc/self/fd/\(descriptor)"
  }

  /// Reads everything, and tells the reporter.
  /// - Returns: the summary, and what could not be read.
  func play(_ found: Found, to reporter: any SessionReporter) -> (Summary, failures: [String]) {
    var failures = found.failures
    var replay = Replay(reporter: reporter, followsSessions: !found.sessions.isEmpty)
    var formats: [AccessLogFormat] = []
    var instance: NginxInstance?
    if let nginxConfig {
      do {
        let loaded = try LoadedNginx(file: nginxConfig)
        instance = loaded.instance
        formats = loaded.accessLogFormats
      } catch { failures.append("\(error)") }
    }
    failures += openLogs(replay.logs, formats, offset: offset(found))
    if let instance { replay.observe(.nginx(instance)) }
    failures += readCaptures(&replay, found)
    if found.sessions.isEmpty {
      for spot in blindSpots(found) { replay.observe(.blindSpot(spot)) }
    } else {
      let sessions = SessionReplay(found.sessions)
      replay.play(sessions)
      for spot in SessionReplay.blindSpots(of: found.sessions) + sessions.playedBlindSpots {
        replay.observe(.blindSpot(spot))
      }
    }
    let summary = replay.finish(whatIf: whatIf.map(\.setting))
    return (summary, failures + replay.logs.failures)
  }

  private func readCaptures(_ replay: inout Replay, _ found: Found) -> [String] {
    var failures: [String] = []
    var options = TrackerOptions.attached
    if !upstream.isEmpty { options.upstreams = UpstreamArgument.filter(upstream) }
    if !found.captures.isEmpty, found.sessions.isEmpty {
      replay.observe(.counters(Counters(source: "packets", seen: 0, lost: 0)))
    }
    for (index, path) in found.captures.enumerated() {
      // Beside sessions, whose connections have their numbers too.
      let number = UInt64(index + (found.sessions.isEmpty ? 0 : 1000))
      if let error = replay.packets(path, options, number: number) { failures.append("\(error)") }
    }
    return failures
  }

  /// Of local time: as asked, else where the session was recorded, else here.
  func offset(_ found: Found) -> Int {
    timeZone?.seconds ?? found.sessions.compactMap(\.info).first?.utcOffset
      ?? utcOffset(at: currentTime())
  }

  private func openLogs(
    _ logs: ReplayLogs, _ configured: [AccessLogFormat], offset: Int
  ) -> [String] {
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
    return failures + readKernelLogs(logs, reference, offset: offset)
      + openBackendLogs(logs, reference, options, offset: offset)
  }

  private func readKernelLogs(
    _ logs: ReplayLogs, _ reference: Timestamp?, offset: Int
  ) -> [String] {
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
    _ logs: ReplayLogs, _ reference: Timestamp?, _ options: LogOptions, offset: Int
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

  private func blindSpots(_ found: Found) -> [BlindSpot] {
    var spots: [BlindSpot] = []
    if found.captures.isEmpty {
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
