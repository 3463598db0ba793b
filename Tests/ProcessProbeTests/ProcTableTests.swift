import Evidence
import Glibc
import LinuxHost
import Testing

@testable import ProcessProbe

@Suite struct ProcessTableTests {
  @Test func `a name with parentheses and spaces does not shift the fields`() {
    let line =
      "77 (a) S (b) Z 5 77 77 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0 "
      + "18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 9\n"
    #expect(
      ProcTable.stat(Array(line.utf8))
        == ProcTable.Stat(
          command: "a) S (b", state: UInt8(ascii: "Z"), parent: 5, startTicks: 123_456,
          exitStatus: 9))
  }

  @Test(arguments: ["", "77", "77 (a", "77 a) S 1", "77 (a) S 1 2", ")("])
  func `a line that is cut is no process`(_ line: String) {
    #expect(ProcTable.stat(Array(line.utf8)) == nil)
  }

  @Test func `the memory controller's cgroup comes before the unified one's`() {
    let hybrid = "12:pids:/p\n3:cpu,memory:/kubepods/pod1\n1:name=systemd:/s\n0::/unified\n"
    #expect(ControlGroup(Array(hybrid.utf8)).path == "/kubepods/pod1")
    #expect(
      ControlGroup(Array("0::/system.slice/a:b.service\n".utf8)).path
        == "/system.slice/a:b.service")
    #expect(ControlGroup([]).path == nil)
  }

  @Test(arguments: [
    ("socket:[4026]", 4026 as UInt64?), ("socket:[]", nil), ("socket:[12", nil),
    ("pipe:[12]", nil), ("socket:[-1]", nil), ("", nil),
  ])
  func `a socket's link holds its inode`(_ link: String, _ expected: UInt64?) {
    var link = link
    link.withUTF8 { #expect(ProcTable.socketInode(UnsafeRawBufferPointer($0)) == expected) }
  }

  @Test func `a wait status is a code or a signal`() {
    #expect(WaitStatus(raw: 3 << 8).code == 3)
    #expect(WaitStatus(raw: 3 << 8).signal == nil)
    #expect(WaitStatus(raw: 0).code == 0)
    #expect(WaitStatus(raw: 9).signal == 9)
    #expect(WaitStatus(raw: 9).code == nil)
    // With a core dump.
    #expect(WaitStatus(raw: 0x80 | 11).signal == 11)
  }

  @Test func `a table of another root is read`() throws {
    let root = "/tmp/upclose-proc-\(getpid())"
    mkdir(root, 0o755)
    mkdir(root + "/42", 0o755)
    mkdir(root + "/42/fd", 0o755)
    defer {
      for path in ["/42/fd/3", "/42/fd/4", "/42/stat", "/42/limits", "/42/cgroup", "/42/exe"] {
        unlink(root + path)
      }
      for path in ["/42/fd", "/42", ""] { rmdir(root + path) }
    }
    symlink("socket:[991]", root + "/42/fd/3")
    symlink("/dev/null", root + "/42/fd/4")
    symlink("/usr/bin/app", root + "/42/exe")
    func write(_ text: String, _ name: String) {
      let descriptor = open(root + "/42/" + name, O_WRONLY | O_CREAT, 0o644)
      _ = Glibc.write(descriptor, text, text.utf8.count)
      close(descriptor)
    }
    write("42 (app) S 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5000 0", "stat")
    write(
      "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n",
      "limits")
    write("0::/app.slice\n", "cgroup")
    let table = ProcTable(root: root)
    #expect(table.processes() == [42])
    #expect(
      table.identity(42)
        == ProcessIdentity(
          pid: 42, command: "app", parent: 7, startTicks: 5000, executable: "/usr/bin/app",
          cgroup: "/app.slice", descriptorLimit: 1024))
    var inodes: [UInt64] = []
    #expect(table.forEachSocket(of: 42) { inodes.append($0) } == .allowed)
    #expect(inodes == [991])
    #expect(table.forEachSocket(of: 43) { _ in } == .gone)
  }

  @Test func `the connector's exits are read`() {
    func event(what: UInt32, pid: Int32, process: Int32) -> [UInt8] {
      var bytes: [UInt8] = []
      func add(_ value: some FixedWidthInteger) {
        bytes += withUnsafeBytes(of: value) { Array($0) }
      }
      for word in [16 + 20 + 40, 3, 0, 0] as [UInt32] { add(word) }
      for word in [1, 1, 0, 0, 40] as [UInt32] { add(word) }
      add(what)
      add(UInt32(0))
      add(UInt64(123_456_789))
      add(pid)
      add(process)
      for word in [9, 17, 1, 1] as [UInt32] { add(word) }
      return bytes
    }
    let bytes =
      event(what: 0x8000_0000, pid: 70, process: 70) + event(what: 1, pid: 71, process: 71)
      + event(what: 0x8000_0000, pid: 73, process: 72)
      + event(what: 0x8000_0000, pid: 74, process: 74).dropLast(8)
    var exits: [ExitConnector.Exit] = []
    bytes.withUnsafeBytes { ExitConnector.parse($0) { exits.append($0) } }
    #expect(
      exits == [ExitConnector.Exit(pid: 70, status: WaitStatus(raw: 9), monotonic: 123_456_789)])
  }
}
