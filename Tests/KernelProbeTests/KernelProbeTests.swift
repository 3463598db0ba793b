import Evidence
import Glibc
import ProbeTesting
import Testing

@testable import KernelProbe

extension Collector {
  /// Waits, generously, for an observation.
  func first<T>(_ select: (Observation) -> T?) -> T? {
    var value: T?
    _ = wait { collector in
      value = collector.all.lazy.compactMap(select).first
      return value != nil
    }
    return value
  }
}

/// A named pipe in place of `/dev/kmsg`; a write is a record.
final class FakeKmsg {
  let path: String
  private let descriptor: Int32

  init?(_ name: String) {
    path = "/tmp/upclose-kmsg-\(getpid())-\(name)"
    unlink(path)
    guard mkfifo(path, 0o600) == 0 else { return nil }
    descriptor = open(path, O_RDWR)
    guard descriptor >= 0 else { return nil }
  }

  func write(_ record: String) {
    let bytes = Array((record + "\n").utf8)
    #expect(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
  }

  deinit {
    close(descriptor)
    unlink(path)
  }
}

@Suite struct KernelProbeTests {
  private func fault(_ observation: Observation, _ command: String) -> Observation? {
    if case .kernel(let event) = observation.fact, case .fault(let fault) = event.kind,
      fault.command == command
    {
      return observation
    }
    return nil
  }

  @Test func `a record that arrives is told with its number and its time`() throws {
    let log = try #require(FakeKmsg("live"))
    let probe = KernelProbe(path: log.path, host: "web1", includeHistory: nil)
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let before = KernelClock.now()
    // A process id that cannot exist, so that none is looked up.
    let micros = before.raw.nanoseconds / 1000
    log.write("6,41,\(micros),-;first[4999999]: segfault at 0 ip 0 sp 0 error 4 in x[1+1]")
    let first = try #require(collector.first { fault($0, "first") })
    #expect(first.host == "web1")
    #expect(first.time.earliest <= first.time.best && first.time.best <= first.time.latest)
    #expect(first.time.latest >= before.realtime)
    guard case .kernel(let event) = first.fact else { return }
    #expect(event.sequence == 41)
  }

  @Test func `records that were overwritten are counted and said`() throws {
    let log = try #require(FakeKmsg("gap"))
    let probe = KernelProbe(path: log.path, host: "web1")
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    log.write("6,10,1,-;one")
    log.write("12,11,1,-;forged[4999999]: segfault at 0 ip 0 sp 0 error 4 in x[1+1]")
    log.write("6,15,1,-;two")
    let spot = collector.first { observation -> BlindSpot? in
      if case .blindSpot(let spot) = observation.fact, spot.id == "kernel-log-overwritten" {
        return spot
      }
      return nil
    }
    #expect(spot?.what == "3 records of the kernel's log were overwritten before they were read")
    let counters = collector.first { observation -> Counters? in
      if case .counters(let counters) = observation.fact, counters.seen == 3 { return counters }
      return nil
    }
    #expect(
      counters
        == Counters(source: "kernel", seen: 3, lost: 3, details: ["written by programs": 1]))
    #expect(!collector.all.contains { fault($0, "forged") != nil })
  }

  @Test func `a device that is not there is an error with its path`() {
    let probe = KernelProbe(path: "/nonexistent/kmsg")
    #expect(
      throws: ProbeError(
        doing: "open /nonexistent/kmsg", reason: "No such file or directory",
        remedy: "run on the host itself, or hand /nonexistent/kmsg into the container")
    ) {
      try probe.open()
    }
    probe.stop()
  }
}

/// The real log of the running kernel.
@Suite(.serialized, .enabled(if: getuid() == 0 && access("/dev/kmsg", R_OK) == 0))
struct LiveKernelLogTests {
  @Test(.enabled(if: MemoryCgroup.isAvailable))
  func `a real kill in a memory cgroup is told with process, cgroup and limit`() throws {
    let limit = 24 << 20
    let cgroup = try #require(MemoryCgroup(limit: limit))
    let probe = KernelProbe(host: "here")
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let start = currentRealtime()
    // tail keeps what it reads, and /dev/zero has no end.
    let child = try #require(
      Child(shell: "echo $$ > \(cgroup.path)/cgroup.procs && exec tail /dev/zero"))
    #expect(child.wait() & 0x7f == SIGKILL)
    let end = currentRealtime()
    let pid = child.pid
    let found = collector.first { observation -> (Observation, OOMKill, KernelEvent)? in
      if case .kernel(let event) = observation.fact, case .oomKill(let kill) = event.kind,
        kill.pid == pid
      {
        return (observation, kill, event)
      }
      return nil
    }
    let (observation, kill, event) = try #require(found)
    #expect(kill.command == "tail")
    #expect(kill.isMemoryCgroup == true)
    #expect(kill.cgroup == cgroup.name)
    #expect(kill.limitBytes == UInt64(limit))
    #expect((kill.residentBytes ?? 0) > 4 << 20)
    #expect(event.text.hasPrefix("Memory cgroup out of memory: Kill"))
    #expect(event.sequence != nil)
    #expect(observation.time.earliest <= end && start <= observation.time.latest)
    #expect(observation.time.best >= start && observation.time.best <= end + .seconds(1))
  }

  @Test func `a real segfault is told with its process, also as history`() throws {
    let collector = Collector()
    let probe = KernelProbe(host: "here", includeHistory: nil)
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let start = currentRealtime()
    // A stack that is used up; the inner shell is the process that faults.
    let child = try #require(Child(shell: "ulimit -s 128; exec sh -c 'f() { f; }; f'"))
    #expect(child.wait() & 0x7f == SIGSEGV)
    let end = currentRealtime()
    let pid = child.pid
    @Sendable func select(_ observation: Observation) -> Observation? {
      if case .kernel(let event) = observation.fact, case .fault(let fault) = event.kind,
        fault.pid == pid
      {
        return observation
      }
      return nil
    }
    let live = try #require(collector.first(select))
    #expect(live.time.best >= start && live.time.best <= end + .seconds(1))
    // Read again from the log, later: less certain, but right.
    let history = Collector()
    let second = KernelProbe(host: "here", includeHistory: .seconds(600))
    try second.open()
    try second.start(history.sink)
    defer { second.stop() }
    let past = try #require(history.first(select))
    #expect(past.fact == live.fact)
    #expect(past.time.earliest <= live.time.best && live.time.best <= past.time.latest)
    #expect(past.time.latest - past.time.earliest > live.time.latest - live.time.best)
  }

  private func currentRealtime() -> Timestamp { KernelClock.now().realtime }
}
