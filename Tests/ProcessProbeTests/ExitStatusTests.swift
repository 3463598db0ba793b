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
      _ = connector.drain(buffer) { if $0.pid == child.pid { found = $0 } }
      usleep(1000)
    }
    let exit = try #require(found)
    #expect(exit.status.code == 9)
    #expect(exit.monotonic >= before && exit.monotonic <= Clock.monotonic())
  }
}
