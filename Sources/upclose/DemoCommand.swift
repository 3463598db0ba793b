import ArgumentParser
import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract:
      "A flaky backend pair with known faults, in namespaces of its own, and what attach says.",
    discussion: """
      Builds a private world (two network namespaces, a veth, a memory cgroup, a real nginx with two \
      real backends), injects real faults for half a minute, runs upclose attach beside it, and \
      compares each verdict with what was done. Everything is removed at the end, also when it is \
      interrupted. Exit code: 0 all verdicts right; 1 one was wrong; 2 it could not run.
      """)

  @Option(help: "auto, always or never (NO_COLOR is respected).")
  var color: ColorChoice = .auto

  @Flag(name: .shortAndLong, help: "Show every piece of evidence.")
  var verbose = false

  @Option(
    help: ArgumentHelp("Record the session to this pcapng file.", valueName: "file"))
  var record: String?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "At the end also write the session's report to this file: .html, .md or .json.",
      valueName: "file"))
  var report: [ReportArgument] = []

  @Flag(help: "Keep the directory with nginx's logs and the truth, and say where it is.")
  var keepFiles = false

  func run() throws {
    guard geteuid() == 0 else {
      throw fail("demo makes network namespaces and a cgroup: run it as root")
    }
    let signals = clinux_termination_signalfd()
    let world: LabWorld
    do {
      complain("building a private nginx with two flaky backends ...")
      world = try LabWorld.build(backendExecutable: try backendPath(), name: "upclose.demo")
    } catch {
      throw fail("\(error)")
    }
    defer { remove(world) }
    let incidents = "\(world.directory)/incidents.ndjson"
    let attach = try startAttach(world, incidents: incidents)
    guard attach.wait(until: { access(incidents, F_OK) == 0 }) else {
      throw fail("attach ended before it watched anything")
    }
    let faults = try inject(world, signals: signals, attach: attach)
    attach.interrupt()
    guard [0, 1].contains(attach.waitForExit()) else { throw fail("attach failed") }
    guard let faults else { throw ExitCode(130) }
    let outcomes = DemoTable(faults: faults, verdicts: try DemoVerdicts.read(incidents))
    print(outcomes.render(isColored: color.isColored(STDOUT_FILENO)))
    if !outcomes.allRight { throw Exit.found }
  }

  /// The lab's backend stands beside this program.
  private func backendPath() throws -> String {
    let own = readLink("/proc/self/exe") ?? ""
    let path = own[..<(own.lastIndex(of: "/") ?? own.startIndex)] + "/lab-backend"
    guard access(String(path), X_OK) == 0 else {
      throw ProbeError(
        doing: "find the demo's backend", reason: "\(path) is not there",
        remedy: "build it: swift build -c release --product lab-backend")
    }
    return String(path)
  }

  private func startAttach(_ world: LabWorld, incidents: String) throws -> ChildProcess {
    var arguments = [
      "attach", "--pid", "\(world.nginxMasterPID)", "--incidents", incidents, "--color",
      color.isColored(STDOUT_FILENO) ? "always" : "never",
    ]
    if verbose { arguments.append("--verbose") }
    if let record { arguments += ["--record", record] }
    for file in report { arguments += ["--report", file.path] }
    do {
      return try ChildProcess(readLink("/proc/self/exe") ?? "upclose", arguments)
    } catch {
      throw fail("\(error)")
    }
  }

  /// Injects all faults beside ordinary load.
  /// - Returns: what was done; nil when it was interrupted.
  private func inject(
    _ world: LabWorld, signals: Int32, attach: ChildProcess
  ) throws -> [InjectedFault]? {
    let done = eventfd(0, Int32(EFD_CLOEXEC))
    defer { close(done) }
    let result = InjectionResult()
    let thread = try ProbeThread.start("injector") { _ in
      result.set(
        Result {
          try world.startLoad()
          return try world.runDemoFaults()
        })
      var one: UInt64 = 1
      _ = write(done, &one, 8)
    }
    var polled = [done, signals].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    while poll(&polled, 2, 200) <= 0, attach.isRunning {}
    world.cancel()
    thread.stop()
    if polled[1].revents != 0 { return nil }
    do {
      return try result.get()
    } catch {
      throw fail("a fault could not be made: \(error)")
    }
  }

  private func remove(_ world: LabWorld) {
    if keepFiles {
      let copy = "/tmp/upclose-demo-files"
      if let program = try? ChildProcess("/bin/cp", ["-rT", world.directory, copy]) {
        _ = program.waitForExit()
        complain("files: \(copy)")
      }
    }
    for leftover in world.tearDown() { complain("upclose: left behind: \(leftover)") }
  }
}
