import ArgumentParser
import Evidence
import Glibc
import LabWorld
import LinuxHost

/// The lab: real faults in real servers, and whether upclose tells them right.
@main
struct Lab: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab",
    abstract: "Injects faults into real backends and judges what upclose says of each.",
    discussion: """
      Every scenario is built in network namespaces of its own, with real servers; upclose attach \
      runs beside it as its user runs it. The truth is what the injector did and on which connection, \
      never what a log says. Exit codes: 0 the targets are met; 1 they are not; 2 it could not do its \
      work; 64 wrong usage.
      """)

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("A scenario's name, 'all', or 'quick'.", valueName: "name"))
  var scenario: [String] = ["all"]

  @Option(help: ArgumentHelp("Make every fault so many times as often.", valueName: "n"))
  var `repeat` = 1

  @Option(help: ArgumentHelp("End a scenario's faults after so long.", valueName: "seconds"))
  var seconds: Int?

  @Option(help: "The access log that nginx writes: exact, combined or none.")
  var logs = LabOptions.AccessLogs.exact

  @Option(help: ArgumentHelp("Where the files of each scenario are kept.", valueName: "directory"))
  var keep: String?

  @Option(help: ArgumentHelp("The upclose that is judged.", valueName: "program"))
  var upclose: String

  @Option(help: ArgumentHelp("lab-backend.", valueName: "program"))
  var backend: String

  @Option(help: ArgumentHelp("Tests/Lab of the source tree.", valueName: "directory"))
  var root: String

  @Flag(help: "Ask for less accuracy, as a test on a busy machine must.")
  var lenient = false

  @Flag(help: "List the scenarios.")
  var list = false

  func run() throws {
    do {
      let scenarios = try chosen()
      if list {
        for one in scenarios { print("\(one.name): \(one.title) (\(one.faultCount) faults)") }
        return
      }
      guard getuid() == 0 else {
        throw ProbeError(doing: "run the lab", reason: "it needs root", remedy: "run it as root")
      }
      let options = LabOptions(
        upclose: upclose, labBackend: backend, directory: root, logs: logs)
      if !(try LabRun(
        scenarios: scenarios, options: options, keep: keep, seconds: seconds,
        targets: lenient ? .test : .full
      ).run()) {
        throw ExitCode(1)
      }
    } catch let code as ExitCode {
      throw code
    } catch {
      complain("\(error)")
      throw ExitCode(2)
    }
  }

  private func chosen() throws -> [Scenario] {
    let directory = "\(root)/Scenarios"
    let files = directoryEntries(directory).filter { $0.hasSuffix(".lab") }.sorted()
    let all = try files.map { file in
      try Scenario(
        name: String(file.dropLast(4)),
        text: String(decoding: try readFile("\(directory)/\(file)"), as: UTF8.self))
    }
    let wanted = Set(scenario)
    let chosen = all.filter { one in
      wanted.contains("all") || wanted.contains(one.name) || wanted.contains("quick") && one.isQuick
    }
    guard !chosen.isEmpty else {
      throw ScenarioError(
        description: "there is no scenario of that name; there are "
          + all.map(\.name).joined(separator: ", "))
    }
    return chosen.map { $0.repeated(self.repeat) }
  }
}

extension LabOptions.AccessLogs: ExpressibleByArgument {}
