import Evidence
import Glibc
import LinuxHost
import Testing

@testable import LabWorld

/// The lab against nginx's own error log: what it claims to have done is what nginx reports. These
/// need root and nginx, and live in namespaces of their own.
@Suite(.enabled(if: getuid() == 0 && findProgram("nginx") != nil), .serialized)
struct LabWorldTests {
  /// Its own prefix: a demonstration that runs at the same time is none of our business.
  static let name = "upclose.labtest"

  private func left() -> Leftovers {
    Leftovers(prefix: Self.name, parent: LabPlan.parent) { $0.pid == getpid() }
  }

  @Test func `every fault leaves the error that it promises and nothing stays behind`() throws {
    let world = try LabWorld.build(backendExecutable: try backendExecutable(), name: Self.name)
    defer { world.tearDown() }
    try world.startLoad()
    let truth = try world.runDemoFaults()
    let kinds = truth.map(\.kind)
    #expect(
      kinds == [
        .closeWithoutAnswer, .lingerReset, .crash, .staleKeepalive, .oomKill, .impatientNginx,
        .staleKeepalive, .stoppedBackend, .closeWithoutAnswer, .peersDisabled, .closeWithoutAnswer,
      ])
    let log = String(decoding: try readFile(world.errorLogPath), as: UTF8.self)
    for fault in truth { expectOneLine(for: fault, in: log) }
    #expect((world.loadStatuses[200] ?? 0) > 0)

    let truthFile = String(decoding: try readFile("\(world.directory)/truth.ndjson"), as: UTF8.self)
    #expect(truthFile.split(separator: "\n").count == truth.count)

    let processes =
      [world.nginxMasterPID, world.nginxWorkerPID] + world.backends.compactMap(\.masterPID)
      + world.backends.compactMap(\.workerPID)
    #expect(processes.count == 6)
    #expect(world.tearDown() == [])
    #expect(processes.filter { ProcessStatus($0) != nil } == [])
    #expect(left().isEmpty)
    #expect(world.tearDown() == [])
  }

  /// Exactly one line at level error names the fault's path, and it says what was promised.
  private func expectOneLine(for fault: InjectedFault, in log: String) {
    let lines = log.split(separator: "\n").filter {
      $0.contains("[error]") && ($0.contains("\(fault.path) ") || $0.contains("\(fault.path)?"))
    }
    #expect(lines.count == 1, "\(fault.path): \(lines)")
    let line = lines.first ?? ""
    let text =
      switch fault.expectedMessage {
      case .prematurelyClosed:
        "upstream prematurely closed connection while reading response header from upstream"
      case .recvFailed:
        "recv() failed (104: Connection reset by peer) while reading response header from upstream"
      case .headerTimedOut:
        "upstream timed out (110: Connection timed out) while reading response header from upstream"
      case .connectFailed:
        "connect() failed (111: Connection refused) while connecting to upstream"
      default: "no live upstreams while connecting to upstream"
      }
    #expect(line.contains(" \(text), client: 127.0.0.1"), "\(line)")
    #expect(line.contains("] \(fault.nginxWorker)#"), "\(line)")
    #expect(line.contains("upstream: \"http://\(fault.upstream)/"), "\(line)")
  }

  @Test func `a truncated body and an exit are as real as the rest`() throws {
    let world = try LabWorld.build(backendExecutable: try backendExecutable(), name: Self.name)
    defer { world.tearDown() }
    let a = world.backends[0]
    let before = try #require(a.workerPID)
    let frontend = world.frontend
    let (isWhole, truncated, exited) = try world.nginxSpace.run {
      let client = try HTTPClient(to: frontend) { false }
      let cut = try client.exchange("POST", "/a/fault/truncate/1")
      let gone = try HTTPClient(to: frontend) { false }.exchange("POST", "/a/fault/exit/2")
      return (cut.isComplete, cut.status, gone.status)
    }
    // nginx has passed the header on when the rest stays out: the client has its 200.
    #expect(!isWhole && truncated == 200 && exited == 502)
    try wait(until: "A has a new worker") { a.workerPID.map { $0 != before } ?? false }
    let log = String(decoding: try readFile(world.errorLogPath), as: UTF8.self)
    let errors = log.split(separator: "\n").filter { $0.contains("[error]") }
    #expect(errors.count == 2)
    #expect(
      errors.first?.contains("prematurely closed connection while reading upstream, ") == true)
    let backendLog = String(decoding: try readFile(a.logPath), as: UTF8.self)
    #expect(backendLog.contains("worker \(before) exited with code 1\n"))
  }

  @Test func `a build that fails leaves nothing`() throws {
    // At the first backend: it ends at once.
    #expect(throws: ProbeError.self) {
      try LabWorld.build(backendExecutable: "/bin/false", name: Self.name)
    }
    #expect(left().isEmpty)
    // At the last step: everything else stands already.
    var plan = try LabPlan(
      backendExecutable: try backendExecutable(), name: Self.name, idleTimeout: .seconds(2),
      memoryLimit: 64 << 20)
    plan.nginxProgram = "/bin/false"
    #expect(throws: ProbeError.self) { try LabWorld.build(plan) }
    #expect(left().isEmpty)
  }

  @Test func `it is taken away in the middle of a fault`() throws {
    let world = try LabWorld.build(backendExecutable: try backendExecutable(), name: Self.name)
    try world.startLoad()
    let faults = try ProbeThread.start("faults") { _ in _ = try? world.runDemoFaults() }
    let truth = "\(world.directory)/truth.ndjson"
    try wait(until: "the first fault is done") { access(truth, F_OK) == 0 }
    #expect(world.tearDown() == [])
    faults.stop()
    #expect(left().isEmpty)
  }

  @Test func `what a crashed run left is removed at the next start`() throws {
    // A run of this very pid that started at another time: it cannot be alive.
    let dead = RunName(prefix: Self.name, pid: getpid(), startTicks: 1, number: 1).description
    let ip = try #require(findProgram("ip"))
    let output = "/tmp/\(dead).out"
    try runProgram(ip, ["netns", "add", "\(dead)-nginx"], output: output)
    let space = try Namespace(name: "\(dead)-nginx")
    let sleeper = try space.run { try spawn("/bin/sleep", ["600"], output: "/dev/null") }
    space.close()
    let group = try MemoryCgroup.make("\(dead)-A", limit: 64 << 20, undo: Undo())
    try writeFile("\(sleeper)", to: group.path + "/cgroup.procs", flags: O_WRONLY)
    mkdir("/tmp/\(dead)", 0o755)
    try writeFile("x", to: "/tmp/\(dead)/nginx.conf")
    #expect(!left().isEmpty)

    let world = try LabWorld.build(backendExecutable: try backendExecutable(), name: Self.name)
    #expect(world.tearDown() == [])
    #expect(left().isEmpty)
    #expect(ProcessStatus(sleeper) == nil)
  }

  /// Needs a unified hierarchy with at least one controller, as every systemd of today mounts it.
  @Test func `a container's processes are moved aside for a controller and back`() throws {
    let mounts = String(decoding: try readFile("/proc/mounts"), as: UTF8.self)
    let unified = mounts.split(separator: "\n").first { $0.contains(" cgroup2 ") }?.split(
      separator: " ")[1]
    guard let root = unified.map(String.init),
      let controller = cgroupWords(root + "/cgroup.controllers").first.map(String.init)
    else { return }
    let undo = Undo()
    defer { #expect(undo.run() == []) }
    try CgroupController(name: controller, parent: root).enable(undo)
    let container = MemoryCgroup(path: "\(root)/\(RunName.next(Self.name).description)")
    undo.register("remove the container") { try container.remove() }
    mkdir(container.path, 0o755)
    let child = try spawn("/bin/sleep", ["600"], output: "/dev/null")
    try writeCgroup("\(child)", to: container.path + "/cgroup.procs")

    let inner = Undo()
    try CgroupController(name: controller, parent: container.path).enable(inner)
    #expect(cgroupWords(container.path + "/cgroup.subtree_control") == [controller[...]])
    #expect(cgroupWords(container.path + "/cgroup.procs") == [])
    #expect(inner.run() == [])
    #expect(cgroupWords(container.path + "/cgroup.subtree_control") == [])
    #expect(cgroupWords(container.path + "/cgroup.procs") == ["\(child)"])
  }

  @Test func `a name that is used by a living run is left alone`() {
    let own = RunName.next(Self.name)
    #expect(own.isAlive)
    #expect(RunName(own.description + "-nginx", prefix: Self.name) == own)
    #expect(RunName("\(Self.name)-x-1-1", prefix: Self.name) == nil)
    #expect(!RunName(prefix: Self.name, pid: getpid(), startTicks: 1, number: 1).isAlive)
  }

  /// Products lie beside the test program.
  private func backendExecutable() throws -> String {
    let program = try #require(readLink("/proc/self/exe"))
    let directory = try #require(program.lastIndex(of: "/")).utf16Offset(in: program)
    return String(program.prefix(directory)) + "/lab-backend"
  }
}
