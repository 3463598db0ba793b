import Evidence
import Glibc
import ProbeTesting
import Testing

@testable import KernelProbe

@Suite struct KernelLogFileTests {
  private static let victim =
    "Out of memory: Killed process 8123 (node) total-vm:1kB, anon-rss:2kB, file-rss:0kB, shmem-rss:0kB"
  private static let kill = KernelEvent.Kind.oomKill(
    OOMKill(pid: 8123, command: "node", isMemoryCgroup: false, residentBytes: 2048))
  /// 2026-11-24T10:59:31Z.
  private static let moment = Timestamp(
    year: 2026, month: 11, day: 24, hour: 10, minute: 59, second: 31)

  private func content(
    _ text: String, bootTime: Timestamp? = nil, reference: Timestamp? = nil, utcOffset: Int = 0
  ) throws -> KernelLogFile.Content {
    var path = Array("/tmp/upclose-kernel-log-XXXXXX".utf8CString)
    let descriptor = mkstemp(&path)
    #expect(descriptor >= 0)
    let name = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(descriptor)
      unlink(name)
    }
    let bytes = Array(text.utf8)
    #expect(write(descriptor, bytes, bytes.count) == bytes.count)
    return try KernelLogFile(
      path: name, host: "web1", bootTime: bootTime, reference: reference, utcOffset: utcOffset
    ).read()
  }

  @Test(arguments: [
    "[Tue Nov 24 10:59:31 2026] ", "kern  :err   : [Tue Nov 24 10:59:31 2026] ",
    "2026-11-24T10:59:31,634046+00:00 ", "2026-11-24T11:59:31+0100 web1 kernel: ",
    "2026-11-24T10:59:31.634046+00:00 web1 kernel: [ 3565.634046] ",
    "Nov 24 10:59:31 web1 kernel: ", "Nov 24 10:59:31.634046 web1 kernel: ",
    "Nov 24 10:59:31 web1 kernel: [ 3565.634046] ",
  ])
  func `a form with the time of day is recognised`(_ head: String) throws {
    let content = try content(
      head + Self.victim + "\n", reference: Self.moment + .seconds(3600))
    #expect(content.entries.map(\.event.kind) == [Self.kill])
    #expect(content.linesNotParsed == 0)
    let time = try #require(content.entries.first?.time)
    let exact = head.contains("634046") && !head.contains("Nov 24 10:59:31 ")
    #expect(time.best == Self.moment + (exact ? .microseconds(634_046) : .zero))
    // The record was written half a second into that second.
    let truth = Self.moment + .microseconds(634_046)
    #expect(time.earliest <= truth && truth <= time.latest)
  }

  @Test(arguments: [
    "[ 3565.634046] ", "[ 3565.634046][ T7366] ", "<3>[ 3565.634046] ",
    "kern  :err   : [ 3565.634046] ", "[ 3565.634046] web1 kernel: ", "3,77,3565634046,-;",
  ])
  func `a form that counts from the boot needs the time of the boot`(_ head: String) throws {
    let unknown = try content(head + Self.victim + "\n")
    #expect(unknown.entries.map(\.event.kind) == [Self.kill])
    #expect(unknown.entries.map(\.time) == [nil])
    let facts = unknown.observations(at: Self.moment).map(\.fact)
    #expect(
      facts.contains {
        if case .blindSpot(let spot) = $0 { spot.id == "kernel-log-time" } else { false }
      })
    let boot = Self.moment - .microseconds(3_565_634_046)
    let known = try content(head + Self.victim + "\n", bootTime: boot)
    #expect(known.entries.map(\.time?.best) == [Self.moment])
    let time = try #require(known.entries.first?.time)
    #expect(time.latest - time.best > .milliseconds(250))
  }

  @Test func `the year is the last that fits`() throws {
    let january = Timestamp(year: 2026, month: 1, day: 2, hour: 0, minute: 0, second: 0)
    let content = try content(
      "Dec 31 23:59:58 web1 kernel: \(Self.victim)\n", reference: january, utcOffset: 3600)
    #expect(
      content.entries.map(\.time?.best) == [
        Timestamp(year: 2025, month: 12, day: 31, hour: 22, minute: 59, second: 58)
      ])
  }

  @Test func `the journal's JSON is read, also text that is no UTF-8`() throws {
    let log = """
      {"__REALTIME_TIMESTAMP":"1795517971700000","__MONOTONIC_TIMESTAMP":"3565700000","_SOURCE_MONOTONIC_TIMESTAMP":"3565634046","_HOSTNAME":"db7","_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","MESSAGE":"\(Self.victim)"}
      {"__REALTIME_TIMESTAMP":"1795517971700000","_TRANSPORT":"kernel","SYSLOG_FACILITY":"1","MESSAGE":"\(Self.victim)"}
      {"__REALTIME_TIMESTAMP":"1795517972000000","_HOSTNAME":"db7","_TRANSPORT":"kernel","MESSAGE":[97,255,91,49,93,58,32,115,101,103,102,97,117,108,116,32,97,116,32,48]}
      """
    let content = try content(log)
    #expect(
      content.entries.map(\.event.kind) == [
        Self.kill, .fault(Fault(pid: 1, command: "a\\xFF", name: "segfault")),
      ])
    #expect(content.entries.map(\.host) == ["db7", "db7"])
    #expect(
      content.entries.first?.time?.best
        == Timestamp(seconds: 1_795_517_971, nanoseconds: 634_046_000))
  }

  @Test func `dmesg's JSON is read, and a cut document up to the cut`() throws {
    let whole = """
      {
         "dmesg": [
            {
               "pri": 6,
               "time":  3565.000001,
               "msg": "a[1]: segfault at 0 ip 0 sp 0 error 4"
            },{
               "pri": 11,
               "time":  3565.500000,
               "msg": "Killed process 1 (said by a program)"
            },{
               "pri": 3,
               "time":  3565.634046,
               "msg": "\(Self.victim)"
            }
         ]
      }

      """
    let boot = Self.moment - .microseconds(3_565_634_046)
    let full = try content(whole, bootTime: boot)
    #expect(full.entries.count == 2)
    #expect(full.entries.last?.time?.best == Self.moment)
    #expect(full.error == nil)
    let cut = try content(String(whole.dropLast(60)), bootTime: boot)
    #expect(cut.entries.count == 1)
    let error = try #require(cut.error)
    #expect(error.doing.contains(" at byte "))
  }

  @Test func `what programs wrote is not the kernel's`() throws {
    let log = """
      user  :warn  : [ 1.000000] \(Self.victim)
      <12>[ 1.000000] \(Self.victim)
      12,77,1000000,-;\(Self.victim)
      Nov 24 10:59:31 web1 systemd[1]: \(Self.victim)
      2026-11-24T10:59:31+0000 web1 logger[9]: \(Self.victim)

      """
    let content = try content(log, reference: Self.moment)
    #expect(content.entries.isEmpty)
    #expect(content.lines == 5)
    #expect(content.linesNotParsed == 0)
  }

  @Test func `lines in no known form are counted, and reading goes on`() throws {
    let log = "garbage\n\0\0\0\n[x] y\n{\"a\":\n<\n9\n[Tue Nov 24 10:59:31 2026] \(Self.victim)"
    let content = try content(log, reference: Self.moment)
    #expect(content.entries.count == 1)
    #expect(content.linesNotParsed == 6)
    #expect(content.error?.doing.hasSuffix("at byte 23") == true)
  }

  @Test func `a file that is not there is an error with its path`() {
    #expect(throws: ProbeError(doing: "open /nonexistent/log", reason: "No such file or directory"))
    {
      try KernelLogFile(path: "/nonexistent/log", host: "h").read()
    }
  }
}
