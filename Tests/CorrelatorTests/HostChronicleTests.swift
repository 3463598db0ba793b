import Evidence
import Testing

@testable import Correlator

/// A backend's host: a master and its worker behind one port, and what befalls them.
private struct Host {
  static let endpoint = Endpoint(address: IPAddress(v4: 0x0a00_0002), port: 8080)
  static let client = Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 40_000)
  let master = ProcessIdentity(pid: 100, command: "app", parent: 1, unit: "app.service")
  let worker = ProcessIdentity(pid: 101, command: "app", parent: 100, unit: "app.service")
  var chronicle = HostChronicle(endpoints: [endpoint])
  private var now = Timestamp(seconds: 1000)

  init() {
    tell(.socket(SocketSighting(role: .listener, local: Self.endpoint, inode: 7)))
    tell(.process(ProcessSighting(process: master, inodes: [7])))
    tell(.process(ProcessSighting(process: worker, inodes: [7])))
  }

  mutating func tell(_ fact: Observation.Fact, after milliseconds: Int64 = 1) {
    now = now + .milliseconds(milliseconds)
    chronicle.observe(Observation(host: "h", time: TimeEstimate(exactly: now), fact: fact))
  }

  mutating func events() -> [HostEvent] { chronicle.finish() }

  /// The worker ends; what is told of it.
  mutating func end(code: Int32? = nil, signal: Int32? = nil) -> HostEvent? {
    tell(.processExit(ProcessExit(process: worker, code: code, signal: signal)))
    return events().first { $0.process?.pid == worker.pid }
  }
}

@Suite struct HostChronicleTests {
  private let stranger = ProcessIdentity(pid: 500, command: "sh", parent: 1)

  @Test func `an OOM kill is the kernel's word, with its numbers`() {
    var host = Host()
    let kill = OOMKill(
      pid: 101, command: "app", isMemoryCgroup: true, cgroup: "/app", residentBytes: 64 << 20,
      limitBytes: 64 << 20)
    host.tell(.kernel(KernelEvent(kind: .oomKill(kill), text: "x")))
    let event = host.end(signal: 9)
    #expect(event?.kind == .oomKill)
    #expect(
      event?.text
        == "the OOM killer killed pid 101 (app) at 64.0 MiB resident, limit 64.0 MiB, "
        + "cgroup /app [app.service]")
    #expect(event?.endpoint == Host.endpoint)
  }

  @Test func `a fault is a crash, and so is abort()`() {
    var host = Host()
    host.tell(
      .kernel(
        KernelEvent(
          kind: .fault(Fault(pid: 101, command: "app", name: "segfault", image: "libc.so.6")),
          text: "x")))
    #expect(host.end(signal: 11)?.kind == .crash)
    var other = Host()
    other.tell(.signal(SignalSent(signal: 6, target: other.worker, sender: other.worker)))
    #expect(other.end(signal: 6)?.kind == .crash)
  }

  @Test func `SIGKILL from a shell is somebody's kill, and he is named`() {
    var host = Host()
    host.tell(.signal(SignalSent(signal: 9, target: host.worker, sender: stranger)))
    let event = host.end(signal: 9)
    #expect(event?.kind == .killed)
    #expect(
      event?.text == "pid 101 (app) was ended by SIGKILL, sent by pid 500 (sh) [app.service]")
  }

  @Test func `SIGKILL from its own master is the master's, and with its word a time-out`() {
    var host = Host()
    host.tell(.signal(SignalSent(signal: 9, target: host.worker, sender: host.master)))
    #expect(host.end(signal: 9)?.kind == .killedByMaster)
    var told = Host()
    told.tell(.signal(SignalSent(signal: 9, target: told.worker, sender: told.master)))
    told.tell(
      .backendLine(
        BackendLine(
          program: .gunicorn, kind: .workerTimeout, pid: 101, text: "WORKER TIMEOUT (pid:101)")))
    #expect(told.end(signal: 9)?.kind == .masterTimeout)
  }

  @Test func `a worker that its master lets go is recycled`() {
    var host = Host()
    host.tell(.signal(SignalSent(signal: 15, target: host.worker, sender: host.master)))
    #expect(host.end(code: 0)?.kind == .recycled)
    var silent = Host()
    #expect(silent.end(code: 0)?.kind == .recycled)
  }

  @Test func `a stop comes through the master, or from systemd or a container's runtime`() {
    var host = Host()
    host.tell(.signal(SignalSent(signal: 15, target: host.master, sender: stranger)))
    host.tell(.signal(SignalSent(signal: 15, target: host.worker, sender: host.master)))
    let event = host.end(signal: 15)
    #expect(event?.kind == .stopped)
    #expect(event?.text.contains("which pid 500 (sh) had sent SIGTERM") ?? false)
    for (pid, name) in [(1, "systemd"), (77, "containerd-shim"), (78, "runc")] as [(Int32, String)]
    {
      var managed = Host()
      let manager = ProcessIdentity(pid: pid, command: name)
      managed.tell(.signal(SignalSent(signal: 15, target: managed.worker, sender: manager)))
      #expect(managed.end(code: 0)?.kind == .stopped)
    }
  }

  @Test func `an exit with a code is its own, and its last words are told`() {
    var host = Host()
    #expect(host.end(code: 3)?.kind == .exited)
    var told = Host()
    told.tell(
      .backendLine(
        BackendLine(program: .python, kind: .exception, pid: 101, text: "Traceback: boom")))
    #expect(told.end(code: 1)?.text.contains("Traceback: boom") ?? false)
  }

  @Test func `a client that ends on the same host is nobody's failure`() {
    var host = Host()
    host.tell(
      .socket(
        SocketSighting(
          role: .originator, local: Host.client, remote: Host.endpoint, inode: 9)))
    host.tell(.process(ProcessSighting(process: stranger, inodes: [9])))
    host.tell(.processExit(ProcessExit(process: stranger, code: 28)))
    #expect(host.events().isEmpty)
  }

  @Test func `an end of which nothing is known is told as that`() {
    var host = Host()
    #expect(host.end()?.text.contains("how was not told") ?? false)
  }

  @Test func `another program, and another listener`() {
    var host = Host()
    let other = ProcessIdentity(pid: 101, command: "new", parent: 100, executable: "/bin/new")
    host.tell(.processReplaced(ProcessReplaced(old: host.worker, new: other)))
    let next = ProcessIdentity(pid: 200, command: "app", parent: 1)
    host.tell(.socket(SocketSighting(role: .listener, local: Host.endpoint, inode: 8)))
    host.tell(.process(ProcessSighting(process: next, inodes: [8])))
    #expect(host.events().map(\.kind) == [.replaced, .restarted])
  }

  @Test func `a connection that breaks is told with its owner, an idle close is not`() {
    var host = Host()
    let flow = Flow(originator: Host.client, responder: Host.endpoint)
    let start = Timestamp(seconds: 1000)
    var connection = Connection(
      id: 1, flow: flow, connState: .sf, history: "ShADadFf", firstPacket: start,
      lastPacket: start + .milliseconds(50), closedAt: start + .milliseconds(50),
      closer: .responder, manner: .fin, phase: .idle, exchanges: 1)
    host.tell(.connection(connection))
    connection.id = 2
    connection.phase = .awaitingResponse
    host.tell(
      .socketAct(
        SocketAct(
          act: .close, role: .responder, local: Host.endpoint, remote: Host.client,
          process: host.worker, isExiting: true)))
    host.tell(.connection(connection))
    // Of another host's port: nothing of ours.
    connection.id = 3
    connection.flow = Flow(
      originator: Host.endpoint, responder: Endpoint(address: IPAddress(v4: 1), port: 80))
    host.tell(.connection(connection))
    let event = host.end(signal: 9)
    #expect(event?.text.contains("1 connection was closed with it") ?? false)
  }

  @Test func `what the kernel and a full queue say is told at once`() {
    var host = Host()
    host.tell(
      .socket(
        SocketSighting(
          role: .listener, local: Host.endpoint, inode: 7, queued: 129, backlog: 128)))
    host.tell(.kernel(KernelEvent(kind: .network("possible SYN flooding on port 8080"), text: "x")))
    #expect(
      Set(host.chronicle.advance(to: Timestamp(seconds: 1000)).map(\.kind))
        == [.queueFull, .kernel])
  }
}
