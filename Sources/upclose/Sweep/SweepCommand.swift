import ArgumentParser
import CLinux
import Evidence
import Glibc
import LinuxHost
import PortProbe
import Sweep

struct SweepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sweep",
    abstract: "Whether TCP ports are open, once or periodically, and why they are not.",
    discussion: """
      A target is HOST:PORT; HOST an address, an IPv6 address in brackets, a network in CIDR or a \
      name (all its addresses, looked up again while it runs), PORT a number, a range or a list:

        upclose sweep 10.0.1.11:8080 10.0.1.12:8080,9090 '[2001:db8::1]:443' web.local:8000-8010
        upclose sweep --from-nginx --every 5s
        upclose sweep 10.0.1.0/24:8080 --format ndjson | grep -v '"open"'
        upclose sweep 10.0.1.11:8080 --expect-keepalive

      Outcomes: open; refused (a reset answers the SYN); timeout (nothing does); unreachable (an ICMP \
      message or this host's own routes say so); reset and closed (accepted, and ended at once).

      Exit codes: 0 all are open (and answer, with --http); 1 some are down; 2 it could not do its \
      work, or not for all targets; 64 wrong usage.
      """)

  @Argument(help: ArgumentHelp("What is checked.", valueName: "host:port"))
  var target: [TargetArgument] = []

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("A file with a target a line; # begins a comment.", valueName: "file"))
  var targets: [String] = []

  @Flag(help: "Every upstream server of the running nginx.")
  var fromNginx = false

  @Option(help: ArgumentHelp("Its master, if several run.", valueName: "master"))
  var pid: Int32?

  @OptionGroup(title: "How it connects") var connecting: ConnectingOptions

  @OptionGroup(title: "What it asks") var asking: AskingOptions

  @OptionGroup(title: "How often") var repeating: RepeatingOptions

  @Option(
    help: ArgumentHelp(
      "Write Prometheus metrics to this file after each round, for node_exporter's textfile "
        + "collector.", valueName: "file"))
  var textfile: String?

  @Flag(help: "Print a systemd service and timer for these options, and do nothing else.")
  var printUnit = false

  @OptionGroup var output: ReportOptions<SweepFormat>

  func validate() throws {
    guard !target.isEmpty || !targets.isEmpty || fromNginx else {
      throw ValidationError("Name a target, --targets FILE or --from-nginx.")
    }
    if pid != nil, !fromNginx { throw ValidationError("--pid goes with --from-nginx.") }
  }

  func run() throws {
    if printUnit {
      print(unit(), terminator: "")
      return
    }
    let signals = clinux_termination_signalfd()
    signal(SIGPIPE, SIG_IGN)
    do {
      // An nginx in another network namespace is reached from there; before there is any thread.
      let sources = try SweepSources.find(self)
      let printer = try SweepPrinter(self)
      let runner = try SweepRunner(self, sources: sources, printer: printer, signals: signals)
      let ending = try runner.run()
      printer.finish(runner)
      if let failure = printer.failure { throw fail(failure) }
      if ending.isIncomplete { throw Exit.failed }
      if ending.someDown { throw Exit.found }
    } catch let error as ExitCode {
      throw error
    } catch {
      throw fail("\(error)")
    }
  }

  /// The same command without what belongs to the timer, with absolute paths.
  private func unit() -> String {
    let program = readLink("/proc/self/exe") ?? "upclose"
    var arguments: [String] = []
    var words = CommandLine.arguments.dropFirst().makeIterator()
    while let word = words.next() {
      let name = String(word.prefix { $0 != "=" })
      var value = word.count > name.count ? String(word.dropFirst(name.count + 1)) : nil
      switch name {
      case "--print-unit": continue
      case "--every", "--count": if value == nil { _ = words.next() }
      case "--targets", "--textfile", "--output":
        value = value ?? words.next()
        arguments += [name] + (value.map { [Self.absolute($0)] } ?? [])
      default: arguments.append(word)
      }
    }
    let written = [textfile, output.output].compactMap { $0 }.map { Self.directory($0) }
    return UnitText.render(
      program: program, arguments: arguments, every: repeating.every?.span.seconds ?? 60,
      writable: Array(Set(written)).sorted())
  }

  private static func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    var buffer = [CChar](repeating: 0, count: 4096)
    guard getcwd(&buffer, buffer.count) != nil else { return path }
    let here = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
    return "\(here)/\(path)"
  }

  private static func directory(_ path: String) -> String {
    let full = absolute(path)
    guard let slash = full.lastIndex(of: "/"), slash != full.startIndex else { return "/" }
    return String(full[..<slash])
  }
}

struct TargetArgument: ExpressibleByArgument {
  var spec: TargetSpec
  /// Why it is none; told in one sentence, better than the parser's.
  init?(argument: String) {
    do {
      spec = try TargetSpec(argument)
    } catch {
      complain("upclose: \(error)")
      return nil
    }
  }
}
