import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import ProcessProbe

/// Real processes that hold real sockets.
@Suite(.serialized) struct ProcessProbeTests {
  private func running(_ body: (ProcessProbe, Collector) throws -> Void) throws {
    let probe = ProcessProbe(host: "web1")
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    try body(probe, collector)
  }

  @Test func `the process behind a socket is found and described`() throws {
    try running { probe, collector in
      let listener = try #require(Listener())
      let child = try #require(
        Child(shell: "exec sleep 1000", inheriting: [listener.descriptor]))
      #expect(
        waitForCommand(of: child.pid, "sleep"), "the child is in its place before it is sought")
      probe.find(inodes: [listener.inode])
      #expect(collector.wait { !$0.processes.isEmpty })
      let table = ProcTable(root: "/proc")
      let identity = try #require(table.identity(child.pid))
      #expect(
        collector.processes == [ProcessSighting(process: identity, inodes: [listener.inode])])
      #expect(identity.command == "sleep")
      #expect(identity.parent == getpid())
      #expect(identity.executable?.hasSuffix("/sleep") == true)
      #expect((identity.descriptorLimit ?? 0) > 0)
      #expect(identity.cgroup?.hasPrefix("/") == true)
      kill(child.pid, SIGKILL)
      #expect(collector.wait { !$0.exits.isEmpty })
      #expect(collector.exits == [ProcessExit(process: identity, signal: SIGKILL)])
    }
  }

  @Test(arguments: [
    ("exit 3", 3 as Int32?, nil as Int32?), ("exit 0", 0, nil), ("kill -SEGV $$", nil, SIGSEGV),
    ("kill -ABRT $$", nil, SIGABRT), ("kill -TERM $$", nil, SIGTERM),
  ])
  func `an end is told with its code or signal though another process reaps it`(
    _ ending: String, _ code: Int32?, _ signal: Int32?
  ) throws {
    try running { probe, collector in
      let listener = try #require(Listener())
      var pipes: [Int32] = [-1, -1]
      #expect(pipe(&pipes) == 0)
      defer { for end in pipes where end >= 0 { close(end) } }
      // The worker waits for a line; its parent takes its status at once.
      let master = try #require(
        Child(
          shell: "sh -c 'read line; \(ending)'; exec sleep 1000",
          inheriting: [listener.descriptor], input: pipes[0]))
      let table = ProcTable(root: "/proc")
      probe.find(inodes: [listener.inode])
      #expect(
        collector.wait { collector in
          collector.processes.contains { $0.process.parent == master.pid }
        })
      let worker = try #require(
        collector.processes.last { $0.process.parent == master.pid }?.process)
      #expect(worker.startTicks == table.stat(worker.pid)?.startTicks)
      #expect(write(pipes[1], "\n", 1) == 1)
      #expect(collector.wait { $0.exits.contains { $0.process.pid == worker.pid } })
      let exit = try #require(collector.exits.first { $0.process.pid == worker.pid })
      #expect(exit == ProcessExit(process: worker, code: code, signal: signal))
      // The master lives on.
      #expect(!collector.exits.contains { $0.process.pid == master.pid })
    }
  }

  @Test func `a worker that is forked later is found by itself`() throws {
    try running { probe, collector in
      let listener = try #require(Listener())
      var pipes: [Int32] = [-1, -1]
      #expect(pipe(&pipes) == 0)
      defer { for end in pipes where end >= 0 { close(end) } }
      let master = try #require(
        Child(
          shell: "sleep 1001 & sleep 1002 & read line; sleep 1003 & wait",
          inheriting: [listener.descriptor], input: pipes[0]))
      probe.find(inodes: [listener.inode])
      func holders(_ collector: Collector) -> Set<Int32> {
        Set(
          collector.processes.filter { $0.inodes == [listener.inode] }.map(\.process.pid))
      }
      #expect(collector.wait { holders($0).count == 3 })
      #expect(holders(collector).contains(master.pid))
      #expect(write(pipes[1], "\n", 1) == 1)
      #expect(collector.wait { holders($0).count == 4 })
    }
  }

  @Test(.enabled(if: getuid() == 0 && access("/usr/bin/unshare", X_OK) == 0))
  func `a process in namespaces of its own, as in a container, is found by the host's number`()
    throws
  {
    try running { probe, collector in
      let listener = try #require(Listener())
      let child = try #require(
        Child(
          shell: "exec unshare --net --pid --fork sleep 1000 2>/dev/null",
          inheriting: [listener.descriptor]))
      let table = ProcTable(root: "/proc")
      var inner: Int32?
      for _ in 0..<3000 where inner == nil {
        inner = table.children(child.pid).first { table.stat($0)?.command == "sleep" }
        usleep(1000)
      }
      let pid = try #require(inner)
      probe.find(inodes: [listener.inode])
      #expect(
        collector.wait { collector in
          collector.processes.contains { $0.process.pid == pid && $0.process.command == "sleep" }
        })
      kill(pid, SIGKILL)
      #expect(
        collector.wait { $0.exits.contains { $0.process.pid == pid && $0.signal == SIGKILL } })
    }
  }

  @Test func `a socket that nobody holds is given up`() throws {
    try running { probe, collector in
      // Larger than any inode of the socket file system, which counts in 32 bits.
      probe.find(inodes: [1 << 40])
      #expect(
        collector.wait { collector in
          collector.all.contains {
            if case .counters(let counters) = $0.fact {
              counters.details["not found"] == 1
            } else {
              false
            }
          }
        })
      #expect(collector.processes.isEmpty)
    }
  }

  @Test func `a root without this process is an error`() {
    let probe = ProcessProbe(proc: "/nonexistent")
    #expect(throws: ProbeError.self) { try probe.open() }
    #expect(throws: ProbeError.self) { try probe.start { _ in } }
    probe.stop()
  }

  private func waitForCommand(of pid: Int32, _ command: String) -> Bool {
    for _ in 0..<3000 {
      if ProcTable(root: "/proc").stat(pid)?.command == command { return true }
      usleep(1000)
    }
    return false
  }
}
