import CLinux
import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import TraceProbe

/// The probe against the running kernel. These need root; each has its own tracing instance, and a
/// backend of its own.
@Suite(.enabled(if: getuid() == 0), .serialized)
struct TraceProbeTests {
  /// Watches a backend while something happens to it.
  private func watching(_ body: (Backend, TraceProbe, Collector) throws -> Void) throws {
    let backend = try #require(Backend())
    let probe = TraceProbe(watching: [backend.endpoint], host: "test")
    let collector = Collector()
    try probe.open()
    defer { probe.stop() }
    try probe.start(collector.sink)
    try body(backend, probe, collector)
  }

  /// The backend's end of a connection, as the kernel told of its closing.
  private func closes(_ collector: Collector) -> [SocketAct] {
    collector.acts.filter { $0.act == .close && $0.role == .responder }
  }

  @Test func `the shortest connection has its owner at both ends`() throws {
    try watching { backend, _, collector in
      let worker = try #require(backend.worker)
      #expect(backend.get("/") == 0)
      #expect(collector.wait { !closes($0).isEmpty && $0.acts.contains { $0.act == .connect } })
      let close = try #require(closes(collector).first)
      let connect = try #require(collector.acts.first { $0.act == .connect })
      #expect(close.process.pid == worker)
      #expect(close.process.command == "lab-backend")
      #expect(close.process.parent == backend.masterPID)
      #expect(!close.isExiting)
      #expect(connect.role == .originator)
      #expect(connect.process.command == "curl")
      #expect(connect.flow == close.flow)
      #expect(connect.flow?.responder == backend.endpoint)
    }
  }

  @Test func `a reset that a process caused names it and the reason`() throws {
    try watching { backend, _, collector in
      let worker = try #require(backend.worker)
      backend.get("/fault/linger")
      #expect(collector.wait { !$0.resets.isEmpty })
      let reset = try #require(collector.resets.first)
      #expect(reset.role == .responder)
      #expect(reset.process?.pid == worker)
      #expect(!reset.isExiting)
      #expect(reset.state == "TCP_CLOSE")
      // A kernel before 6.10 has no reasons.
      #expect(reset.reason.map { $0.hasPrefix("TCP_") } ?? true)
    }
  }

  @Test func `a refused connection's reset has no author`() throws {
    let port = try #require(Backend.freePort())
    let endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
    let probe = TraceProbe(watching: [endpoint], host: "test")
    let collector = Collector()
    try probe.open()
    defer { probe.stop() }
    guard probe.tracesPassiveResets else { return }
    try probe.start(collector.sink)
    Child(["curl", "-s", "http://\(endpoint)/"])?.wait()
    #expect(collector.wait { !$0.resets.isEmpty })
    let reset = try #require(collector.resets.first)
    #expect(reset.local == endpoint)
    #expect(reset.process == nil)
    #expect(reset.reason == "NO_SOCKET")
  }

  @Test func `a crash closes for the process and the kernel sent the signal`() throws {
    try watching { backend, _, collector in
      let worker = try #require(backend.worker)
      backend.get("/fault/segv")
      #expect(collector.wait { !closes($0).isEmpty && $0.signals.contains { $0.signal == 11 } })
      #expect(closes(collector).map(\.process.pid) == [worker])
      #expect(closes(collector).map(\.isExiting) == [true])
      let signal = try #require(collector.signals.first { $0.signal == 11 })
      #expect(signal.target.pid == worker)
      #expect(signal.sender == nil)
    }
  }

  @Test func `an exit closes for the process without a signal`() throws {
    try watching { backend, _, collector in
      let worker = try #require(backend.worker)
      backend.get("/fault/exit")
      #expect(collector.wait { !closes($0).isEmpty })
      #expect(closes(collector).map(\.process.pid) == [worker])
      #expect(closes(collector).map(\.isExiting) == [true])
      #expect(!collector.signals.contains { $0.target.pid == worker })
    }
  }

  @Test func `who kills a worker from a shell is known`() throws {
    try watching { backend, _, collector in
      let worker = try #require(backend.worker)
      let idle = socketCount(worker)
      let request = try #require(
        Child(["curl", "-s", "-m", "20", "http://\(backend.endpoint)/?ms=15000"], isQuiet: true))
      #expect(collector.wait { $0.acts.contains { $0.act == .connect } })
      // Until then the connection waits in the queue, and outlives the worker.
      #expect(collector.wait { _ in socketCount(worker) > idle })
      let shell = try #require(Child(shell: "kill -9 \(worker); sleep 20"))
      request.wait()
      #expect(collector.wait { !closes($0).isEmpty && $0.signals.contains { $0.signal == 9 } })
      let signal = try #require(collector.signals.first { $0.signal == 9 })
      #expect(signal.target.pid == worker)
      #expect(signal.target.command == "lab-backend")
      #expect(signal.sender?.pid == shell.pid)
      #expect(signal.sender?.command == "sh")
      #expect(!signal.isFromParent)
      #expect(closes(collector).map(\.process.pid) == [worker])
      #expect(closes(collector).map(\.isExiting) == [true])
    }
  }

  @Test func `a master that ends its worker is the sender`() throws {
    try watching { backend, probe, collector in
      let worker = try #require(backend.worker)
      kill(backend.masterPID, SIGTERM)
      #expect(collector.wait { $0.signals.contains { $0.target.pid == worker } })
      let signal = try #require(collector.signals.first { $0.target.pid == worker })
      #expect(signal.signal == SIGTERM)
      #expect(signal.sender?.pid == backend.masterPID)
      #expect(signal.isFromParent)
    }
  }

  @Test func `a process that becomes another program is told with both`() throws {
    try watching { _, probe, collector in
      let child = try #require(Child(shell: "sleep 1; exec sleep 20"))
      for _ in 0..<500 where ProcTable().stat(child.pid)?.command != "sh" { usleep(10_000) }
      probe.know(try #require(ProcTable().identity(child.pid)))
      #expect(
        collector.wait {
          $0.all.contains {
            guard case .processReplaced(let replaced) = $0.fact else { return false }
            return replaced.old.command == "sh" && replaced.new.command == "sleep"
              && replaced.new.pid == child.pid && replaced.old.startTicks == replaced.new.startTicks
          }
        })
    }
  }

  @Test
  func `a backend in namespaces of its own, as in a container, is named as the host names it`()
    throws
  {
    let port = try #require(Backend.freePort())
    let endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
    let probe = TraceProbe(watching: [endpoint], host: "test")
    let collector = Collector()
    try probe.open()
    defer { probe.stop() }
    try probe.start(collector.sink)
    // The inner shell is the namespace's first process: with it all of them end.
    let container = try #require(
      Child([
        "unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c",
        "ip link set lo up; \(Backend.program) --listen \(endpoint) --idle-timeout 30 & "
          + "for i in $(seq 200); do curl -s http://\(endpoint)/ && break; sleep 0.1; done; "
          + "sleep 60",
      ]))
    #expect(collector.wait { $0.acts.contains { $0.act == .connect && $0.process.pid > 0 } })
    #expect(collector.wait { !closes($0).isEmpty })
    let close = try #require(closes(collector).last)
    #expect(close.process.command == "lab-backend")
    let inside = readLink("/proc/\(close.process.pid)/ns/pid")
    #expect(inside != nil)
    #expect(inside != readLink("/proc/self/ns/pid"))
    #expect(container.pid > 0)
  }

  @Test func `endpoints that are watched later are filtered in`() throws {
    let backend = try #require(Backend())
    let probe = TraceProbe(watching: [Endpoint](), host: "test")
    let collector = Collector()
    try probe.open()
    defer { probe.stop() }
    try probe.start(collector.sink)
    probe.watch([backend.endpoint])
    #expect(
      collector.wait {
        backend.get("/")
        return !closes($0).isEmpty
      })
  }

  @Test func `nothing is left after a stop and what a crash left is removed`() throws {
    let root = try TraceRoot()
    let abandoned = "instances/\(TraceInstance.prefix)2147483646-1-1"
    #expect(mkdirat(root.descriptor, abandoned, 0o700) == 0)
    let probe = TraceProbe(watching: [Endpoint](), host: "test")
    try probe.open()
    // Other sessions of this host have instances of their own.
    func own() -> [String] { tracingInstances().filter { $0.contains("-\(getpid())-") } }
    #expect(own().count == 1)
    #expect(!tracingInstances().contains { abandoned.hasSuffix($0) })
    probe.stop()
    #expect(own() == [])
  }

  @Test func `an instance that its process left behind is removed at once`() throws {
    // The undertaker acts on the end of its pipe, which a kill -9 closes like this.
    let root = try TraceRoot()
    let path = "instances/\(TraceInstance.prefix)\(getpid())-0-0"
    #expect(mkdirat(root.descriptor, path, 0o700) == 0)
    var life: Int32 = -1
    let undertaker = clinux_spawn_undertaker(root.descriptor, path, &life)
    #expect(undertaker > 0)
    #expect(faccessat(root.descriptor, path, F_OK, 0) == 0)
    close(life)
    var status: Int32 = 0
    #expect(waitpid(undertaker, &status, 0) == undertaker)
    #expect(status == 0)
    #expect(faccessat(root.descriptor, path, F_OK, 0) != 0)
  }
}

/// How many sockets a process holds.
private func socketCount(_ pid: Int32) -> Int {
  var count = 0
  _ = ProcTable().forEachSocket(of: pid) { _ in count += 1 }
  return count
}
