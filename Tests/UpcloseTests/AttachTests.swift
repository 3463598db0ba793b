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

  @Test func `a configuration that somebody is mending does not keep it from what it is told`()
    throws
  {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.mending")
    defer { world.tearDown() }
    try "http { upstream pair {".write(
      toFile: world.configurationPath, atomically: false, encoding: .utf8)
    let namespace = (world.nginxNamespacePath as NSString).lastPathComponent
    let refused = try Program.run(
      "/usr/sbin/ip", ["netns", "exec", namespace, Program.upclose, "attach", "--duration", "1s"])
    #expect(refused.status == 2)
    #expect(refused.err.contains(world.configurationPath))
    #expect(refused.err.contains("--upstream"))
    let session = try Session(
      in: world,
      [
        "--error-log", world.errorLogPath, "--upstream", world.backends[0].endpoint.description,
      ])
    try session.waitUntilWatching()
    let outcome = try session.end()
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("cannot read the configuration of nginx \(world.nginxMasterPID)"))
  }

  @Test func `a second Ctrl-C does not cost what the session has learned`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.twice")
    defer { world.tearDown() }
    let session = try Session(in: world, [])
    try session.waitUntilWatching()
    session.interrupt()
    usleep(100_000)
    let outcome = try session.end()
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("Books"))
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

  @Test func `an error log that comes through a pipe`() throws {
    let scratch = try Scratch()
    let line =
      "2026/11/24 10:00:01 [error] 7#7: *1 connect() failed (111: Connection refused) while "
      + "connecting to upstream, client: 1.2.3.4, server: x, request: \"GET / HTTP/1.1\", upstream: "
      + "\"http://127.0.0.1:81/\", host: \"h\""
    let journal = ["Started nginx.", line, "1.2.3.4 - - \"GET / HTTP/1.1\" 502 157", line]
      .map { "Nov 24 10:00:01 host nginx[7]: \($0)\n" }.joined()
    let file = try scratch.write("journal", journal.utf8)
    let outcome = try Program.run(
      "/usr/bin/unshare",
      [
        "--pid", "--fork", "--mount-proc", "--net", "sh", "-c",
        "(cat \(file); sleep 2) | \(Program.upclose) attach --error-log - --upstream 127.0.0.1:81 "
          + "--duration 4s --probe-interval 0 --format json",
      ])
    #expect(outcome.status == 1, "\(outcome.err)")
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8))
    #expect(report.incidents.map(\.upstream) == ["127.0.0.1:81", "127.0.0.1:81"])
    #expect(report.books.errors == 2)
    #expect(outcome.out.contains("cannot read errors from the standard input: it has ended"))
  }

  @Test func `without root it names what it lacks and what still works`() throws {
    let scratch = try Scratch()
    let copy = scratch.path + "/upclose"
    // By another program: a descriptor open for writing that some other test's child inherits would
    // make the copy "busy".
    _ = try Program.run("/bin/cp", [Program.upclose, copy])
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

  @Test func `after a reload the new upstream is captured, and the old one is not`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.reload")
    defer { world.tearDown() }
    let session = try Session(in: world, ["--format", "json", "--probe-interval", "0"])
    try session.waitUntilWatching()
    let old = world.backends[0].endpoint
    let new = Endpoint(address: old.address, port: 8099)
    let text = try String(contentsOfFile: world.configurationPath, encoding: .utf8)
    // Nothing listens there: each request is refused, by a packet that the old filter would not pass.
    try text.replacingOccurrences(
      of: "upstream only_a { server \(old);", with: "upstream only_a { server \(new);"
    ).write(toFile: world.configurationPath, atomically: true, encoding: .utf8)
    kill(world.nginxMasterPID, SIGHUP)
    // Until nginx and then upclose have taken it, requests go to the old one, or their packets unseen.
    try session.wait("a refusal on the new port is explained") {
      _ = try? session.inNamespace([
        "curl", "-s", "-o", "/dev/null", "-X", "POST", "http://\(world.frontend)/a/reload",
      ])
      usleep(200_000)
      return session.lines.contains {
        $0.contains("\(new)") && $0.contains("\"manner\":\"refused\"")
      }
    }
    let outcome = try session.end()
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8))
    let last = try #require(report.incidents.last)
    #expect(last.upstream == new.description)
    #expect(last.verdict.cause == "not-listening")
  }

  @Test(arguments: [true, false])
  func `a network namespace is named by a file or by a process`(byFile: Bool) throws {
    let world = try LabWorld.build(
      backendExecutable: Program.backend, name: "upclose.test.netns")
    defer { world.tearDown() }
    let place = byFile ? world.nginxNamespacePath : "\(world.nginxMasterPID)"
    let session = try Session(
      in: world, isInside: false, ["--format", "json", "--netns", place])
    try session.waitUntilWatching()
    _ = try session.inNamespace([
      "curl", "-s", "-o", "/dev/null", "-X", "POST", "http://\(world.frontend)/a/fault/close/netns",
    ])
    try session.waitForIncidents(1)
    let outcome = try session.end()
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8))
    #expect(report.incidents.map(\.verdict.cause) == ["closed-without-response"])
    #expect(report.incidents.first?.close?.closer == "responder")
  }

  @Test(arguments: [
    ("2147483647", "No such file"), ("/etc/passwd", "not a network namespace"),
  ])
  func `what is no namespace is named, with a way out`(place: String, reason: String) throws {
    let outcome = try Program.upclose("attach", "--netns", place, "--duration", "1s")
    #expect(outcome.status == 2)
    #expect(outcome.err.contains(place))
    #expect(outcome.err.contains(reason))
    #expect(outcome.err.contains("ip netns list"))
  }

  @Test func `light capture says which verdicts it cannot give`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.light")
    defer { world.tearDown() }
    let session = try Session(in: world, ["--format", "json", "--capture", "light"])
    try session.waitUntilWatching()
    _ = try session.inNamespace([
      "curl", "-s", "-o", "/dev/null", "-X", "POST", "http://\(world.frontend)/a/fault/close/light",
    ])
    try session.waitForIncidents(1)
    let outcome = try session.end()
    let report = try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8))
    let close = try #require(report.incidents.first?.close)
    #expect(close.closer == "responder")
    #expect(close.manner == "fin")
    // The kernel's last words on the socket tell the phase, where they arrived; nothing else can.
    let told: [String?: String] = [
      nil: "unknown", "awaitingResponse": "closed-without-response",
    ]
    #expect(report.incidents.first?.verdict.cause == told[close.phase])
    let spot = try #require(report.blindSpots.first { $0.id == "light-capture" })
    #expect(spot.cost.contains("stale-keepalive"))
  }

  private struct Report: Decodable {
    var blindSpots: [BlindSpot]
    enum CodingKeys: String, CodingKey {
      case incidents, books
      case blindSpots = "blind_spots"
    }
    struct BlindSpot: Decodable {
      var id: String
      var cost: String
    }
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
      var phase: String?
    }
    struct Books: Decodable {
      var errors: Int
      var matched: Int
    }
  }
}

/// An attach that runs in nginx's namespace until it is interrupted.
final class Session {
  private let process = Process()
  private let scratch: Scratch
  private let namespace: String
  private let incidents: String

  /// - Parameter isInside: started in nginx's namespace, or in that of the test.
  init(in world: LabWorld, isInside: Bool = true, _ options: [String]) throws {
    scratch = try Scratch()
    namespace = (world.nginxNamespacePath as NSString).lastPathComponent
    incidents = scratch.path + "/incidents.ndjson"
    for name in ["out", "err"] { _ = try scratch.write(name, "".utf8) }
    let attach = [Program.upclose, "attach", "--incidents", incidents] + options
    let command = isInside ? ["/usr/sbin/ip", "netns", "exec", namespace] + attach : attach
    process.executableURL = URL(fileURLWithPath: command[0])
    process.arguments = Array(command.dropFirst())
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
    try wait("\(count) incidents") { lines.count >= count }
  }

  /// The incidents so far, as NDJSON.
  var lines: [Substring] {
    ((try? String(contentsOfFile: incidents, encoding: .utf8)) ?? "").split(separator: "\n")
  }

  /// What it has said on stderr so far.
  var errors: String {
    (try? String(contentsOfFile: scratch.path + "/err", encoding: .utf8)) ?? ""
  }

  func interrupt() { process.interrupt() }

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
