import ArgumentParser
import Report

struct SchemaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "The JSON Schema of --format json; a line of --format ndjson is its $defs/incident.")

  func run() throws { print(ReportSchema.text, terminator: "") }
}
