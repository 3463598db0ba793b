import ArgumentParser
import Correlator

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "The same verdicts from files: recorded sessions, or a capture and logs.",
    discussion: """
      Needs no root. A session that was recorded (attach --record) says the same as it did live; those \
      of several hosts become one. Without one, what is not given is a blind spot of the report. Error \
      logs say only the second, in local time: give --time-zone if they are from elsewhere.

        upclose replay nginx.pcapng backend1.pcapng
        upclose replay --pcap upstream.pcap --error-log error.log --kernel-log dmesg.txt
      """)

  @OptionGroup var inputs: ReplayInputs

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Also write the report to this file: .html, .md or .json.", valueName: "file"))
  var report: [ReportArgument] = []

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if inputs.isEmpty {
      throw ValidationError("give a recorded session, or at least --error-log FILE or --pcap FILE")
    }
  }

  func run() throws {
    let target: Output
    let reports: [ReportFile]
    do {
      target = try Output(path: output.output)
      reports = try report.map(ReportFile.init)
    } catch { throw fail("\(error)") }
    let found = inputs.look()
    let printer = SessionPrinter(
      output: target, options: output, utcOffset: inputs.offset(found), reports: reports)
    let (summary, failures) = inputs.play(found, to: printer)
    for failure in failures { complain("upclose: \(failure)") }
    if let failure = target.failure ?? printer.failure { throw fail(failure) }
    if !failures.isEmpty { throw Exit.failed }
    if summary.books.errors > 0 { throw Exit.found }
  }
}
