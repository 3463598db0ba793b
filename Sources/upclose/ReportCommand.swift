import ArgumentParser
import Correlator

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "A recorded session as text, ndjson, json, or its incidents for Wireshark.",
    discussion: """
      Takes what replay takes. With --format pcapng it writes the incidents alone: the last packets of \
      each, with the verdict as their comment, and the lines of nginx's and the kernel's log around \
      them. Packets end with the TCP header.

        upclose report session.pcapng --format pcapng --output incidents.pcapng
        tshark -r incidents.pcapng -T fields -e frame.time -e frame.comment
      """)

  @OptionGroup var inputs: ReplayInputs

  @Option(help: "text, ndjson (an object an incident), json (one document) or pcapng.")
  var format = ReportFormat.text

  @Option(help: ArgumentHelp("Write the report to a file.", valueName: "file"))
  var output: String?

  @Option(help: "auto, always or never (NO_COLOR is respected).")
  var color: ColorChoice = .auto

  @Flag(name: .shortAndLong, help: "Every piece of evidence.")
  var verbose = false

  func validate() throws {
    if inputs.isEmpty { throw ValidationError("give a recorded session") }
  }

  func run() throws {
    let target: Output
    do { target = try Output(path: output) } catch { throw fail("\(error)") }
    let found = inputs.look()
    let offset = inputs.offset(found)
    let reporter: any SessionReporter
    if let format = OutputFormat(rawValue: format.rawValue) {
      reporter = SessionPrinter(
        output: target, options: options(format), utcOffset: offset)
    } else {
      guard !target.isTerminal else {
        throw fail("a pcapng is not for a terminal: give --output FILE")
      }
      reporter = IncidentCapture(
        output: target, files: found.captureFiles, utcOffset: offset)
    }
    let (summary, failures) = inputs.play(found, to: reporter)
    for failure in failures { complain("upclose: \(failure)") }
    if let failure = target.failure { throw fail(failure) }
    if !failures.isEmpty { throw Exit.failed }
    if summary.books.errors > 0 { throw Exit.found }
  }

  private func options(_ format: OutputFormat) -> OutputOptions {
    var options = OutputOptions()
    options.format = format
    options.output = output
    options.color = color
    options.quiet = false
    options.verbose = verbose
    return options
  }
}

/// What `report` can write: what every command writes, and pcapng.
enum ReportFormat: String, ExpressibleByArgument, CaseIterable {
  case text, ndjson, json, pcapng
}
