import CLinux
import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import BackendProbe

extension Collector {
  fileprivate var lines: [(line: BackendLine, time: TimeEstimate)] {
    all.compactMap { if case .backendLine(let line) = $0.fact { (line, $0.time) } else { nil } }
  }

  fileprivate func waitForLine(_ text: String) -> Bool {
    wait { $0.lines.contains { $0.line.text.contains(text) } }
  }
}

/// A directory of the test's own.
private final class Scratch {
  let path: String
  init?() {
    var template = Array("/tmp/upclose-backend-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { return nil }
    path = String(cString: made)
  }
  func write(_ text: String, to name: String, isNew: Bool = false) {
    let flags = O_WRONLY | O_CREAT | (isNew ? O_TRUNC : O_APPEND)
    let descriptor = open("\(path)/\(name)", flags, 0o644)
    _ = Glibc.write(descriptor, text, text.utf8.count)
    close(descriptor)
  }
  deinit { run("rm -rf \(path)") }
}

private func harakiri(_ pid: Int) -> String {
  "*** HARAKIRI ON WORKER 1 (pid: \(pid), try: 1) ***\n"
}

@Suite struct FollowTests {
  @Test func `a line is told when it comes, and what stood there before is not`() throws {
    let scratch = try #require(Scratch())
    scratch.write(harakiri(1), to: "a.log")
    let probe = BackendProbe([
      BackendLogSource(path: "\(scratch.path)/a.log", upstream: UpstreamPeer("10.0.0.1:80"))
    ])
    try probe.open()
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let before = currentTime()
    scratch.write("nothing of note\n" + harakiri(42), to: "a.log")
    #expect(collector.waitForLine("pid: 42"))
    let after = currentTime()
    let told = collector.lines
    #expect(told.count == 1)
    #expect(told.first?.line.pid == 42)
    #expect(told.first?.line.kind == .workerTimeout)
    #expect(told.first?.line.upstream == UpstreamPeer("10.0.0.1:80"))
    let time = try #require(told.first?.time)
    #expect(time.earliest <= after && before <= time.latest)
  }

  @Test func `a rotation by rename loses nothing, nor does copytruncate`() throws {
    let scratch = try #require(Scratch())
    scratch.write("", to: "a.log")
    let probe = BackendProbe([BackendLogSource(path: "\(scratch.path)/a.log")])
    try probe.open()
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    scratch.write(harakiri(1), to: "a.log")
    #expect(collector.waitForLine("pid: 1,"))
    rename("\(scratch.path)/a.log", "\(scratch.path)/a.log.1")
    // The writer has not been told yet.
    scratch.write(harakiri(2), to: "a.log.1")
    scratch.write(harakiri(3), to: "a.log")
    #expect(collector.waitForLine("pid: 3,"))
    scratch.write(harakiri(4), to: "a.log.1")
    #expect(collector.waitForLine("pid: 4,"))
    truncate("\(scratch.path)/a.log", 0)
    scratch.write(harakiri(5), to: "a.log")
    #expect(collector.waitForLine("pid: 5,"))
    #expect(Set(collector.lines.map(\.line.pid)) == [1, 2, 3, 4, 5])
    #expect(collector.lines.count == 5)
  }

  @Test func `a log that a process holds open is found, with its owner`() throws {
    let scratch = try #require(Scratch())
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { for end in ends { close(end) } }
    let child = try #require(
      Child(
        shell: "exec >>\(scratch.path)/out.txt 2>>\(scratch.path)/app.log; while read l; do "
          + "echo \"$l\" >&2; done", input: ends[0]))
    let table = ProcTable()
    // It has opened them when they are there.
    for _ in 0..<3000 where access("\(scratch.path)/app.log", F_OK) != 0 { usleep(10_000) }
    let identity = try #require(table.identity(child.pid))
    let found = LogFinder(table: table).logs(of: identity)
    #expect(
      Set(found.logs.map(\.path)) == ["\(scratch.path)/out.txt", "\(scratch.path)/app.log"])
    let probe = BackendProbe()
    try probe.open()
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    probe.look(at: identity)
    #expect(collector.wait { $0.facts.contains { if case .counters = $0 { true } else { false } } })
    let line = harakiri(7)
    _ = write(ends[1], line, line.utf8.count)
    #expect(collector.waitForLine("pid: 7,"))
    #expect(collector.lines.first?.line.owner?.pid == child.pid)
  }

  @Test func `output that goes to a pipe is a blind spot`() throws {
    let child = try #require(Child(shell: "exec 2>&1; sleep 60 | sleep 60"))
    let table = ProcTable()
    #expect(
      (0..<3000).contains { _ in
        usleep(10_000)
        return table.children(child.pid).count == 2
      })
    let writer = try #require(table.children(child.pid).min().flatMap { table.identity($0) })
    let found = LogFinder(table: table).logs(of: writer)
    #expect(found.blindSpot?.id == "backend-log")
  }

  @Test(.enabled(if: getuid() == 0))
  func `a log that was found does not lead to somebody else's file after a rotation`() throws {
    let scratch = try #require(Scratch())
    scratch.write("", to: "a.log")
    chown("\(scratch.path)/a.log", 65534, 65534)
    let owner = ProcessIdentity(pid: 1, command: "x")
    let inotify = inotify_init1(0)
    defer { close(inotify) }
    let file = FollowedFile(
      BackendLogSource(path: "\(scratch.path)/a.log", owner: owner), inotify: inotify,
      fromEnd: true, stamps: LineStamp.Context())
    unlink("\(scratch.path)/a.log")
    scratch.write(harakiri(1), to: "secret")
    symlink("\(scratch.path)/secret", "\(scratch.path)/a.log")
    var seen = 0
    file.service { _, _ in seen += 1 }
    #expect(seen == 0)
    unlink("\(scratch.path)/a.log")
    link("\(scratch.path)/secret", "\(scratch.path)/a.log")
    file.service { _, _ in seen += 1 }
    #expect(seen == 0)
    #expect(file.problem != nil)
  }

  @Test func `what was written around a failure is told, cut and redacted`() throws {
    let scratch = try #require(Scratch())
    scratch.write("", to: "a.log")
    let probe = BackendProbe([BackendLogSource(path: "\(scratch.path)/a.log")])
    try probe.open()
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    scratch.write("before /x?token=1\n", to: "a.log")
    // Read, before the failure is told.
    #expect(
      collector.wait {
        $0.facts.contains { if case .counters(let books) = $0 { books.seen == 1 } else { false } }
      })
    probe.noteFailure(of: nil)
    #expect(collector.waitForLine("before /x?…"))
    scratch.write("after\n", to: "a.log")
    #expect(collector.waitForLine("after"))
    #expect(collector.lines.allSatisfy { $0.line.kind == .context })
  }

  @Test func `a log that is not there is a blind spot, and waited for`() throws {
    let scratch = try #require(Scratch())
    let probe = BackendProbe([BackendLogSource(path: "\(scratch.path)/a.log")])
    try probe.open()
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(
      collector.wait { $0.facts.contains { if case .blindSpot = $0 { true } else { false } } })
    scratch.write(harakiri(9), to: "a.log")
    #expect(collector.waitForLine("pid: 9,"))
  }
}

@Suite struct BackendLogFileTests {
  private func read(
    _ text: String, failures: [TimeEstimate] = []
  ) throws -> (told: [Observation], file: BackendLogFile) {
    let scratch = try #require(Scratch())
    scratch.write(text, to: "a.log")
    let file = try BackendLogFile(
      BackendLogSource(path: "\(scratch.path)/a.log"), host: "h", failures: failures)
    var told: [Observation] = []
    while let observation = try file.next() { told.append(observation) }
    return (told, file)
  }

  @Test func `a line without a time lies between its neighbours`() throws {
    let (told, file) = try read(
      """
      2026-11-24T13:48:10Z started
      *** HARAKIRI ON WORKER 1 (pid: 7, try: 1) ***
      2026-11-24T13:48:12Z next

      """)
    #expect(told.count == 1)
    #expect(told.first?.time.earliest == Timestamp(iso8601: "2026-11-24T13:48:10Z"))
    #expect(told.first?.time.latest == Timestamp(iso8601: "2026-11-24T13:48:13Z"))
    #expect(file.blindSpot == nil)
    #expect(file.counters.seen == 3)
  }

  @Test func `a log without any time cannot be joined, and says so`() throws {
    let (told, file) = try read(harakiri(1) + harakiri(2))
    #expect(told.isEmpty)
    #expect(file.blindSpot?.what.hasPrefix("2 lines") ?? false)
  }

  @Test func `lines around a failure are context`() throws {
    let failure = TimeEstimate(
      exactly: try #require(Timestamp(iso8601: "2026-11-24T13:48:20Z")))
    let (told, _) = try read(
      """
      2026-11-24T13:48:10.5Z too early
      2026-11-24T13:48:19.5Z near
          with more below it
      2026-11-24T13:48:30.5Z too late

      """, failures: [failure])
    let texts = told.compactMap {
      if case .backendLine(let line) = $0.fact { line.text } else { nil }
    }
    #expect(texts == ["2026-11-24T13:48:19.5Z near"])
  }

  @Test func `no bytes are a trap`() throws {
    var state: UInt64 = 1
    for _ in 0..<200 {
      var bytes: [UInt8] = []
      for _ in 0..<300 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes.append(UInt8(truncatingIfNeeded: state >> 33))
      }
      let reader = LineReader(path: "x")
      for line in bytes.split(separator: 10) {
        if let read = reader.read(line, at: 0) { _ = reader.fact(read) }
      }
    }
  }
}
