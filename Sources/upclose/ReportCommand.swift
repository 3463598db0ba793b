import ArgumentParser
import Correlator

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "A recorded session as text, JSON, Markdown or HTML, or its incidents for Wireshark.",
    discussion: """
      Takes what replay takes. With --format pcapng it writes the incidents alone: the last packets of \
      each, with the verdict as their comment, and the lines of nginx's and the kernel's log around \
      them. Packets end with the TCP header.

        upclose report session.pcapng --format pcapng --output incidents.pcapng
        tshark -r incidents.pcapng -T fields -e frame.time -e frame.comment
      """)

  @OptionGroup var inputs: ReplayInputs

  @OptionGroup var output: ReportOptions<ReportFormat>

  func validate() throws {
    if inputs.isEmpty { throw ValidationError("give a recorded session") }
  }

  func run() throws {
    let target: Output
    do { target = try Output(path: output.output) } catch { throw fail("\(error)") }
    let found = inputs.look()
    let offset = inputs.offset(found)
    let reporter: any SessionReporter
    if let format = OutputFormat(rawValue: output.format.rawValue) {
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
    options.output = output.output
    options.color = output.color
    options.quiet = output.quiet
    options.verbose = output.verbose
    return options
  }
}

/// What `report` can write: what every command writes, and pcapng.
enum ReportFormat: String, FormatArgument {
  case text, ndjson, json, markdown, html, pcapng

  static let standard = Self.text
  static let help: ArgumentHelp =
    "text, ndjson (an object an incident), json (one document), markdown, html, or pcapng (the incidents for Wireshark)."
}
