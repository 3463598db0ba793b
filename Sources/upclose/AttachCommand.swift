import ArgumentParser
import CLinux
import Correlator
import Evidence
import Glibc
import LinuxHost
import NginxProbe
import PacketProbe

struct AttachCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach",
    abstract: "Watches a running nginx and explains each upstream error as it happens.",
    discussion: """
      Finds nginx, its logs, upstreams and workers by itself, also in a container's network \
      namespace. Prints a line as each incident is understood; at Ctrl-C or after --duration the \
      findings, the upstreams side by side, the books and the blind spots. Needs root; drops it once \
      its sources are open.
      """)

  @Option(help: ArgumentHelp("End after this time (20s, 5m, 1h).", valueName: "time"))
  var duration: DurationArgument?

  @Option(help: ArgumentHelp("The nginx master to watch, if several run.", valueName: "master"))
  var pid: Int32?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Follow this error log, besides those that nginx names (- for what comes through a pipe).",
      valueName: "file"))
  var errorLog: [String] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Watch this upstream, besides those that nginx names.", valueName: "address:port"))
  var upstream: [EndpointArgument] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Follow this log of a backend (or journal:UNIT), besides those that the backends hold open.",
      valueName: "file[=address:port]"))
  var backendLog: [BackendLogArgument] = []

  @Option(help: ArgumentHelp("Capture on this interface.", valueName: "name"))
  var interface = "any"

  @Option(
    help: ArgumentHelp(
      "headers; light (SYN, FIN and RST only); or auto: headers, and light while they cost too much.",
      valueName: "mode"))
  var capture = CaptureArgument.auto

  @Option(
    help: ArgumentHelp(
      "The kernel's ring of captured packets (512K, 16M, 1G); larger, if packets are lost.",
      valueName: "size"))
  var buffer = SizeArgument(bytes: 16 << 20)

  @Option(
    help: ArgumentHelp(
      "Watch in this network namespace: that of a process, or a file like /run/netns/NAME.",
      valueName: "pid|path"))
  var netns: NamespaceArgument?

  @Option(help: ArgumentHelp("Connect to each upstream this often; 0: never.", valueName: "time"))
  var probeInterval = DurationArgument(.seconds(1))

  @Option(
    help: ArgumentHelp(
      "Also write every incident to this file, as NDJSON; it is made when watching begins.",
      valueName: "file"))
  var incidents: String?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "At the end also write the report to this file: .html, .md or .json.", valueName: "file"))
  var report: [ReportArgument] = []

  @OptionGroup var recording: RecordingOptions

  @Option(
    help: ArgumentHelp(
      "Write Prometheus metrics to this file every 15 s, for node_exporter's textfile collector.",
      valueName: "file"))
  var textfile: String?

  @Option(
    help: ArgumentHelp(
      "At the bottom of a terminal: table (the upstreams side by side), line, or off (for a screen reader).",
      valueName: "mode"))
  var live = LiveMode.table

  @Flag(help: "Keep query strings in the report and the recording.")
  var keepQueries = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let missing = Privileges.missing()
    if missing.contains(where: { $0.capability == "CAP_NET_RAW" }) { throw lacking(missing) }
    let signals = clinux_termination_signalfd()
    signal(SIGPIPE, SIG_IGN)
    do {
      let target = try Output(path: output.output)
      let reports = try report.map(ReportFile.init)
      let metrics = try textfile.map(Textfile.init(path:))
      let targets = try Targets.find(self)
      let recorder = try recording.recorder(targets.loaded, interface: interface, keepQueries)
      let watch = try Watch(targets, options: self, recorder: recorder)
      try watch.open()
      // What happens from here on is seen: the sources are open, though nobody reads them yet.
      let copy = try incidents.map { try Output(path: $0) }
      var spots = targets.blindSpots + watch.blindSpots
      if let kept = Privileges.drop() {
        spots.append(
          BlindSpot(id: "privileges", what: "privileges were not dropped", cost: kept))
      }
      let printer = SessionPrinter(
        output: target, options: output, utcOffset: utcOffset(at: currentTime()), reports: reports)
      let session = LiveSession(
        probes: watch.probes, inbox: watch.inbox, printer: printer, duration: duration?.span,
        view: LiveView(live, quiet: output.quiet), textfile: metrics, signals: signals,
        recorder: recorder, trails: watch.packets.trails)
      for spot in spots {
        session.observe(
          Observation(
            host: watch.host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot)))
      }
      session.onObservation = { [weak session] observation in
        watch.follow(observation)
        if !output.quiet, let text = watch.warning(observation) { session?.say(text) }
      }
      if let copy {
        session.onIncident = { printer.write($0, to: copy) }
      }
      try recorder?.start()
      try watch.start()
      if !output.quiet { announce(targets, watch) }
      let summary = session.run { target.failure }
      if let failure = target.failure ?? copy?.failure ?? printer.failure { throw fail(failure) }
      if summary.books.errors > 0 { throw Exit.found }
    } catch let error as ExitCode {
      throw error
    } catch {
      throw fail("\(error)")
    }
  }

  private func lacking(_ missing: [Privileges.Need]) -> ExitCode {
    let needs = missing.map { "  \($0.capability): \($0.loses)" }.joined(separator: "\n")
    return fail(
      """
      attach needs root; this process lacks
      \(needs)
      Run it as root. Without root these work on files: upclose replay, upclose connections.
      """)
  }

  private func announce(_ targets: Targets, _ watch: Watch) {
    for instance in targets.instances {
      var text = "watching nginx"
      if let version = instance.version { text += " \(version)" }
      if let master = instance.master { text += ", master \(master)" }
      if let path = instance.configurationPath { text += ", \(path)" }
      complain(text)
    }
    complain("upstreams \(targets.endpoints.map(\.description).joined(separator: ", "))")
    complain("error logs \(targets.errorLogs.joined(separator: ", "))")
    if output.verbose {
      complain("probes \(watch.probes.map(\.name).joined(separator: ", "))")
    }
    for spot in targets.blindSpots + watch.blindSpots { complain("not watched: \(spot.what)") }
  }
}

/// How much is captured, on the command line.
enum CaptureArgument: String, ExpressibleByArgument, CaseIterable {
  case headers, light, auto

  var mode: CaptureMode {
    switch self {
    case .headers: .headers
    case .light: .light
    case .auto: .auto
    }
  }
}

/// A size on the command line: `512K`, `16M`, `1G`, or bytes without a unit.
struct SizeArgument: ExpressibleByArgument, CustomStringConvertible {
  /// As libpcap takes it.
  var bytes: Int32

  init(bytes: Int32) { self.bytes = bytes }

  init?(argument: String) {
    let units: [(String, Int)] = [("", 0), ("K", 10), ("M", 20), ("G", 30)]
    let number = argument.prefix { $0.isASCII && $0.isNumber }
    var unit = argument.dropFirst(number.count).uppercased()
    for suffix in ["IB", "B"] where unit.hasSuffix(suffix) && unit.count <= suffix.count + 1 {
      unit.removeLast(suffix.count)
      break
    }
    guard let value = Int(number), let shift = units.first(where: { $0.0 == unit })?.1,
      value <= Int(Int32.max) >> shift, value << shift >= 64 << 10
    else { return nil }
    bytes = Int32(value << shift)
  }

  var description: String {
    bytes % (1 << 20) == 0 ? "\(bytes >> 20)M" : bytes % 1024 == 0 ? "\(bytes >> 10)K" : "\(bytes)"
  }
}

/// A network namespace on the command line, by a process in it or by a file that stands for it.
struct NamespaceArgument: ExpressibleByArgument {
  var path: String

  init?(argument: String) {
    guard !argument.isEmpty else { return nil }
    path = Int32(argument).map { "/proc/\($0)/ns/net" } ?? argument
  }
}

/// An address and a port on the command line.
struct EndpointArgument: ExpressibleByArgument {
  var endpoint: Endpoint

  init?(argument: String) {
    guard let endpoint = Endpoint(argument) else { return nil }
    self.endpoint = endpoint
  }
}
