import CLinux
import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import ProcessProbe

/// The three sources of an exit status, each alone.
@Suite(.serialized) struct ExitStatusTests {
  @Test func `a zombie's status stands in the process table`() throws {
    let child = try #require(Child(shell: "exit 5"))
    let table = ProcTable(root: "/proc")
    for _ in 0..<3000 where table.stat(child.pid)?.state != UInt8(ascii: "Z") { usleep(1000) }
    let stat = try #require(table.stat(child.pid))
    #expect(stat.state == UInt8(ascii: "Z"))
    #expect(WaitStatus(raw: stat.exitStatus).code == 5)
  }

  @Test func `a pidfd tells the status of a process that was reaped, where the kernel can`() throws
  {
    let child = try #require(Child(shell: "exec sleep 1000"))
    let descriptor = clinux_pidfd_open(child.pid)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    kill(child.pid, SIGKILL)
    _ = child.wait()
    var status: Int32 = 0
    if clinux_pidfd_exit_status(descriptor, &status) == 0 {
      #expect(WaitStatus(raw: status).signal == SIGKILL)
    } else {
      // Before Linux 6.15.
      #expect(errno == ENOTTY || errno == EINVAL)
    }
  }

  @Test(.enabled(if: getuid() == 0))
  func `the connector tells it without being asked`() throws {
    // It exists in the host's first network namespace alone.
    guard let connector = try? ExitConnector() else { return }
    let before = Clock.monotonic()
    let child = try #require(Child(shell: "exit 9"))
    _ = child.wait()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 8)
    defer { buffer.deallocate() }
    var found: ExitConnector.Exit?
    for _ in 0..<3000 where found == nil {
      _ = connector.drain(buffer) { if $0.pid == child.pid, $0.status != nil { found = $0 } }
      usleep(1000)
    }
    let exit = try #require(found)
    #expect(exit.status?.code == 9)
    #expect(exit.monotonic >= before && exit.monotonic <= Clock.monotonic())
  }

  /// Perl's threads, and a main thread that ends alone (exit, not exit_group).
  static let hasThreads = run("perl -Mthreads -e 1 2>/dev/null") == 0

  #if arch(x86_64)
    @Test(.enabled(if: ExitStatusTests.hasThreads))
    func `a process ends with its last thread, not with its first`() throws {
      let probe = ProcessProbe(host: "h")
      let collector = Collector()
      try probe.open()
      try probe.start(collector.sink)
      defer { probe.stop() }
      let listener = try #require(Listener())
      let script =
        "use threads; threads->create(sub { select undef, undef, undef, 1.5; syscall(231, 7) }); "
        + "select undef, undef, undef, 0.5; syscall(60, 0)"
      let child = try #require(
        Child(["perl", "-e", script], inheriting: [listener.descriptor]))
      probe.find(inodes: [listener.inode])
      #expect(collector.wait { $0.processes.contains { $0.process.pid == child.pid } })
      let table = ProcTable()
      for _ in 0..<3000 where table.stat(child.pid)?.state != UInt8(ascii: "Z") { usleep(1000) }
      let firstGone = currentTime()
      #expect(!collector.exits.contains { $0.process.pid == child.pid })
      #expect(collector.wait { $0.exits.contains { $0.process.pid == child.pid } })
      let told = try #require(
        collector.all.first {
          if case .processExit(let exit) = $0.fact { exit.process.pid == child.pid } else { false }
        })
      guard case .processExit(let exit) = told.fact else { return }
      #expect(exit.code == 7)
      #expect(told.time.best > firstGone + .milliseconds(200))
    }
  #endif

  @Test func `an end's time reaches back to where the kernel began to take it apart`() {
    // 2 ms at 50 MiB and 90 ms at 3 GiB were measured.
    #expect(Endings.teardown(resident: 50 << 20) >= 2_000_000)
    #expect(Endings.teardown(resident: 3 << 30) >= 90_000_000)
    #expect(Endings.teardown(resident: .max) < 3_000_000_000)
  }

  @Test(.enabled(if: getuid() == 0))
  func `the end of a process that was never found is told to who asks`() throws {
    guard (try? ExitConnector()) != nil else { return }
    let probe = ProcessProbe(host: "h")
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let child = try #require(Child(shell: "exit 6"))
    let identity = try #require(ProcTable().identity(child.pid))
    _ = child.wait()
    probe.tellEnd(of: identity)
    #expect(collector.wait { $0.exits.contains { $0.process.pid == child.pid } })
    #expect(collector.exits.first { $0.process.pid == child.pid }?.code == 6)
  }
}
