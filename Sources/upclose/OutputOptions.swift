import ArgumentParser
import Glibc

/// What a command can write.
protocol FormatArgument: ExpressibleByArgument, CaseIterable, Sendable, RawRepresentable
where RawValue == String {
  static var standard: Self { get }
  static var help: ArgumentHelp { get }
}

/// The options of attach, replay and report.
typealias OutputOptions = ReportOptions<OutputFormat>

/// The options that every command which reports has.
struct ReportOptions<Format: FormatArgument>: ParsableArguments {
  @Option(help: Format.help)
  var format: Format = .standard

  @Option(help: ArgumentHelp("Write the report to a file.", valueName: "file"))
  var output: String?

  @Option(help: "auto, always or never (NO_COLOR is respected).")
  var color: ColorChoice = .auto

  @Flag(name: .shortAndLong, help: "Nothing on stderr but errors.")
  var quiet = false

  @Flag(name: .shortAndLong, help: "Say which probes run, and every piece of evidence.")
  var verbose = false
}

enum OutputFormat: String, FormatArgument {
  case text, ndjson, json, markdown, html

  static let standard = Self.text
  static let help: ArgumentHelp =
    "text, ndjson (an object an incident, as it stands), json (one document), markdown (for a ticket) or html (one file)."
}

/// A file on the command line, whose name's end says what is written to it.
struct ReportArgument: ExpressibleByArgument {
  var path: String
  var format: OutputFormat

  init?(argument: String) {
    let formats: [(String, OutputFormat)] = [
      (".html", .html), (".htm", .html), (".md", .markdown), (".json", .json),
    ]
    guard let format = formats.first(where: { argument.lowercased().hasSuffix($0.0) })?.1 else {
      return nil
    }
    path = argument
    self.format = format
  }
}

/// What stands at the bottom of a terminal while a session runs.
enum LiveMode: String, ExpressibleByArgument, CaseIterable {
  case table, line, off
}

enum SweepFormat: String, FormatArgument {
  case text, ndjson, json

  static let standard = Self.text
  static let help: ArgumentHelp = "text, ndjson (an object a check) or json (one document)."
}

enum ColorChoice: String, ExpressibleByArgument, CaseIterable {
  case auto, always, never

  /// - Parameter descriptor: where the text goes.
  func isColored(_ descriptor: Int32) -> Bool {
    switch self {
    case .always: true
    case .never: false
    case .auto:
      isatty(descriptor) == 1 && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true)
        && getenv("TERM").map { String(cString: $0) } != "dumb"
    }
  }
}

/// The exit codes of every command.
enum Exit {
  static let found = ExitCode(1)
  static let failed = ExitCode(2)
}

/// Says on stderr what went wrong and what to do, and ends with exit code 2.
func fail(_ message: String) -> ExitCode {
  complain("upclose: \(message)")
  return Exit.failed
}

/// A line on stderr.
func complain(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  _ = write(STDERR_FILENO, bytes, bytes.count)
}
