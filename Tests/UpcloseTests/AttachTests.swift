import Evidence
import Foundation
import Glibc
import LabWorld
import Testing

/// upclose beside a real nginx, as root, in namespaces of the test's own.
@Suite(.enabled(if: getuid() == 0), .serialized) struct AttachTests {
  @Test func `attach finds an nginx that it was told nothing about, and explains a 502`() throws {
    let world = try LabWorld.build(
      backendExecutable: Program.backend, name: "upclose.test.attach")
    defer { world.tearDown() }
    let session = try Session(in: world, ["--format", "json"])
    try session.waitUntilWatching()
    #expect(session.userID == 65534, "privileges were not dropped")
    let curl = try session.inNamespace([
      "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST",
      "http://\(world.frontend)/a/fault/close/by-hand?secret=1",
    ])
    #expect(curl.out == "502")
    try session.waitForIncidents(1)
    let outcome = try session.end()
    #expect(outcome.status == 1)
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8))
    let incident = try #require(report.incidents.first)
    #expect(report.incidents.count == 1)
    #expect(incident.verdict.cause == "closed-without-response")
    #expect(incident.request == "POST /a/fault/close/by-hand HTTP/1.1")
    #expect(incident.upstream == world.backends[0].endpoint.description)
    #expect(incident.close?.closer == "responder")
    #expect(incident.close?.manner == "fin")
    #expect(incident.close?.phase == "awaitingResponse")
    #expect(report.books.errors == 1)
    #expect(report.books.matched == 1)
    #expect(!outcome.out.contains("secret"))
  }

  @Test func `the text report of a quiet session says so and exits with 0`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.quiet")
    defer { world.tearDown() }
    let session = try Session(in: world, [])
    try session.waitUntilWatching()
    let outcome = try session.end()
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("no upstream error was logged"))
    #expect(!outcome.out.contains("\u{1b}"))
  }

  @Test func `who killed the worker is named, and a killed attach leaves nothing behind`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.kill")
    defer { world.tearDown() }
    let session = try Session(in: world, [])
    try session.waitUntilWatching()
    let request = try session.start([
      "curl", "-s", "-o", "/dev/null", "-X", "POST", "http://\(world.frontend)/a/slow?ms=60000",
    ])
    // A kill that comes before the request hits a worker that has nothing: the next one has it.
    try Program.wait("the request has failed") {
      if let worker = world.backends[0].workerPID {
        _ = try? Program.run("/bin/sh", ["-c", "kill -9 \(worker); sleep 1"])
      }
      return !request.isRunning
    }
    try session.waitForIncidents(1)
    let said = try session.incidentText()
    #expect(said.contains("\"killed\""))
    #expect(said.contains(" (lab-backend) was ended by SIGKILL, sent by pid "))
    #expect(said.contains("(sh); it owned this connection"))
    #expect(Program.tracingInstances(of: session.pid).count == 1)
    try session.kill()
    try Program.wait("the tracing instance is removed") {
      Program.tracingInstances(of: session.pid).isEmpty
    }
  }

  @Test func `without nginx it says where it looked`() throws {
    // A PID namespace of its own, with its own /proc, in which nothing else runs.
    let outcome = try Program.run(
      "/usr/bin/unshare",
      ["--pid", "--fork", "--mount-proc", "--net", Program.upclose, "attach", "--duration", "1s"])
    #expect(outcome.status == 2)
    #expect(outcome.err.contains("nginx"))
    #expect(outcome.err.contains("/proc"))
    #expect(outcome.err.contains("--error-log"))
  }

  @Test func `without root it names what it lacks and what still works`() throws {
    let scratch = try Scratch()
    let copy = scratch.path + "/upclose"
    try FileManager.default.copyItem(atPath: Program.upclose, toPath: copy)
    let outcome = try Program.run(
      "/usr/bin/setpriv",
      [
        "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all",
        "--bounding-set=-all", copy, "attach",
      ])
    #expect(outcome.status == 2)
    for word in ["CAP_NET_RAW", "CAP_SYSLOG", "CAP_SYS_PTRACE", "replay", "connections"] {
      #expect(outcome.err.contains(word), "\(word) is not named")
    }
  }

  private struct Report: Decodable {
    var incidents: [Incident]
    var books: Books
    struct Incident: Decodable {
      var request: String?
      var upstream: String?
      var verdict: Verdict
      var close: Close?
    }
    struct Verdict: Decodable { var cause: String }
    struct Close: Decodable {
      var closer: String
      var manner: String?
      var phase: String
    }
    struct Books: Decodable {
      var errors: Int
      var matched: Int
    }
  }
}

/// An attach that runs in nginx's namespace until it is interrupted.
private final class Session {
  private let process = Process()
  private let scratch: Scratch
  private let namespace: String
  private let incidents: String

  init(in world: LabWorld, _ options: [String]) throws {
    scratch = try Scratch()
    namespace = (world.nginxNamespacePath as NSString).lastPathComponent
    incidents = scratch.path + "/incidents.ndjson"
    for name in ["out", "err"] { _ = try scratch.write(name, "".utf8) }
    process.executableURL = URL(fileURLWithPath: "/usr/sbin/ip")
    process.arguments =
      ["netns", "exec", namespace, Program.upclose, "attach", "--incidents", incidents] + options
    process.standardOutput = FileHandle(forWritingAtPath: scratch.path + "/out")
    process.standardError = FileHandle(forWritingAtPath: scratch.path + "/err")
    process.standardInput = FileHandle.nullDevice
    try process.run()
  }

  deinit { if process.isRunning { process.terminate() } }

  /// The real user of the running program, from /proc (ip has become it by exec).
  var userID: Int? {
    let status = try? String(
      contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)
    let line = status?.split(separator: "\n").first { $0.hasPrefix("Uid:") }
    return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
  }

  var pid: Int32 { process.processIdentifier }

  func incidentText() throws -> String { try String(contentsOfFile: incidents, encoding: .utf8) }

  /// As the out-of-memory killer does.
  func kill() throws {
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  /// Starts a program in nginx's namespace, and does not wait for it.
  func start(_ command: [String]) throws -> Process {
    let started = Process()
    started.executableURL = URL(fileURLWithPath: "/usr/sbin/ip")
    started.arguments = ["netns", "exec", namespace] + command
    started.standardInput = FileHandle.nullDevice
    started.standardOutput = FileHandle.nullDevice
    try started.run()
    return started
  }

  func inNamespace(_ command: [String]) throws -> Program.Outcome {
    try Program.run("/usr/sbin/ip", ["netns", "exec", namespace] + command)
  }

  func waitUntilWatching() throws {
    try wait("it watches") { FileManager.default.fileExists(atPath: incidents) }
  }

  func waitForIncidents(_ count: Int) throws {
    try wait("\(count) incidents") {
      let text = (try? String(contentsOfFile: incidents, encoding: .utf8)) ?? ""
      return text.split(separator: "\n").count >= count
    }
  }

  /// As Ctrl-C does.
  func end() throws -> Program.Outcome {
    process.interrupt()
    process.waitUntilExit()
    func text(_ name: String) -> String {
      (try? String(contentsOfFile: scratch.path + "/" + name, encoding: .utf8)) ?? ""
    }
    return Program.Outcome(status: process.terminationStatus, out: text("out"), err: text("err"))
  }

  func wait(_ what: String, until condition: () -> Bool) throws {
    let deadline = Date().addingTimeInterval(120)
    while !condition() {
      guard process.isRunning, Date() < deadline else {
        let said = (try? String(contentsOfFile: scratch.path + "/err", encoding: .utf8)) ?? ""
        throw Failure(description: "waited in vain until \(what); attach said: \(said)")
      }
      usleep(20_000)
    }
  }

  private struct Failure: Error, CustomStringConvertible { var description: String }
}
