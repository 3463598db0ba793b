import ArgumentParser
import Glibc

/// The options that every command which reports has.
struct OutputOptions: ParsableArguments {
  @Option(help: "text, ndjson (an object an incident, as it stands) or json (one document).")
  var format: OutputFormat = .text

  @Option(help: ArgumentHelp("Write the report to a file.", valueName: "file"))
  var output: String?

  @Option(help: "auto, always or never (NO_COLOR is respected).")
  var color: ColorChoice = .auto

  @Flag(name: .shortAndLong, help: "Nothing on stderr but errors.")
  var quiet = false

  @Flag(name: .shortAndLong, help: "Say which probes run, and every piece of evidence.")
  var verbose = false
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case text, ndjson, json
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
