import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import PortProbe

/// Collects what a probe yields.
final class Collector: Sendable {
  private let observations = Mutex<[Observation]>([])

  var sink: ObservationSink {
    { [self] observation in observations.withLock { $0.append(observation) } }
  }

  var all: [Observation] { observations.withLock { $0 } }

  var checks: [PortCheck] {
    all.compactMap { if case .port(let check) = $0.fact { check } else { nil } }
  }

  /// Waits, generously, for a check of a target.
  func check(of target: Endpoint, after count: Int = 0) -> PortCheck? {
    for _ in 0..<3000 {
      if let check = checks.dropFirst(count).first(where: { $0.target == target }) { return check }
      usleep(10_000)
    }
    return nil
  }
}

/// A TCP socket bound to a port of the kernel's choice on the loopback.
final class Bound {
  let descriptor: Int32
  let endpoint: Endpoint

  init?(v6: Bool = false) {
    let family = v6 ? AF_INET6 : AF_INET
    descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let address = v6 ? IPAddress(high: 0, low: 1) : IPAddress(v4: 0x7f00_0001)
    let descriptor = descriptor
    guard descriptor >= 0,
      withSocketAddress(Endpoint(address: address, port: 0), { bind(descriptor, $0, $1) }) == 0,
      let bound = localEndpoint(descriptor)
    else { return nil }
    endpoint = bound
  }

  func listen(backlog: Int32 = 16) { #expect(Glibc.listen(descriptor, backlog) == 0) }

  /// What the next connection came from, and all that it then said.
  func accept() -> (from: Endpoint?, bytes: Int, error: Int32) {
    let accepted = Glibc.accept(descriptor, nil, nil)
    defer { close(accepted) }
    var storage = sockaddr_storage()
    var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(accepted, $0, &size)
      }
    }
    let from = withUnsafeBytes(of: storage) { bytes -> Endpoint? in
      guard Int32(storage.ss_family) == AF_INET else { return nil }
      return Endpoint(
        address: IPAddress(
          v4: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))),
        port: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    }
    var byte: UInt8 = 0
    let count = recv(accepted, &byte, 1, 0)
    return (from, count, count < 0 ? errno : 0)
  }

  deinit { close(descriptor) }
}

@Suite struct PortProbeTests {
  private func running(
    _ targets: [Endpoint], timeout: TimeSpan = .seconds(20),
    _ body: (PortProbe, Collector) throws -> Void
  ) throws {
    let probe = PortProbe(
      targets: targets, host: "web1", interval: .milliseconds(50), timeout: timeout)
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    try body(probe, collector)
  }

  @Test func `an open port is told with its time, and the connection ends with a FIN`() throws {
    let listener = try #require(Bound())
    listener.listen()
    try running([listener.endpoint]) { _, collector in
      let seen = listener.accept()
      // End of file, and no reset.
      #expect(seen.bytes == 0)
      let check = try #require(collector.check(of: listener.endpoint))
      #expect(check.outcome == .open)
      #expect(check.reason == nil)
      #expect(check.source == seen.from)
      let time = try #require(check.connectTime)
      #expect(time > .zero && time < .seconds(20))
      let observation = try #require(collector.all.first)
      #expect(observation.host == "web1")
      #expect(observation.time.latest - observation.time.earliest >= time)
    }
  }

  @Test func `IPv6 is probed`() throws {
    guard let listener = Bound(v6: true) else { return }
    listener.listen()
    try running([listener.endpoint]) { _, collector in
      let check = try #require(collector.check(of: listener.endpoint))
      #expect(check.outcome == .open)
      #expect(check.source?.address == listener.endpoint.address)
    }
  }

  @Test func `a port without a listener is refused, until it listens`() throws {
    let bound = try #require(Bound())
    try running([bound.endpoint]) { _, collector in
      let check = try #require(collector.check(of: bound.endpoint))
      #expect(check.outcome == .refused)
      #expect(check.reason == "connection refused")
      #expect(check.connectTime == nil)
      #expect(check.source?.address == bound.endpoint.address)
      bound.listen()
      var opened = false
      for _ in 0..<3000 where !opened {
        opened = collector.checks.last?.outcome == .open
        usleep(10_000)
      }
      #expect(opened)
    }
  }

  @Test func `a full accept queue lets the connect time out`() throws {
    let listener = try #require(Bound())
    listener.listen(backlog: 0)
    // The queue holds one more than it says.
    let filling = try #require(Bound())
    #expect(withSocketAddress(listener.endpoint) { connect(filling.descriptor, $0, $1) } == 0)
    try running([listener.endpoint], timeout: .milliseconds(200)) { _, collector in
      let check = try #require(collector.check(of: listener.endpoint))
      #expect(check.outcome == .timeout)
      #expect(check.reason == "no answer to the SYN in 200 ms")
      #expect(check.connectTime == nil)
    }
  }

  @Test func `targets are replaced while it runs`() throws {
    let first = try #require(Bound())
    let second = try #require(Bound())
    try running([first.endpoint, first.endpoint]) { probe, collector in
      #expect(collector.check(of: first.endpoint) != nil)
      probe.probe([second.endpoint])
      #expect(collector.check(of: second.endpoint) != nil)
      usleep(100_000)
      let count = collector.checks.count
      _ = collector.check(of: second.endpoint, after: count + 1)
      #expect(collector.checks.dropFirst(count).allSatisfy { $0.target == second.endpoint })
    }
  }

  @Test func `each open port is asked once whether it speaks TLS`() throws {
    let listener = try #require(Bound())
    listener.listen()
    let server = try ProbeThread.start("test-plain") { [descriptor = listener.descriptor] thread in
      let answer = Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8)
      while !thread.waitReadable([descriptor], milliseconds: 20_000).isEmpty, !thread.shouldStop {
        let accepted = accept(descriptor, nil, nil)
        var buffer = [UInt8](repeating: 0, count: 4096)
        if recv(accepted, &buffer, buffer.count, 0) > 0 {
          _ = write(accepted, answer, answer.count)
        }
        close(accepted)
      }
    }
    defer { server.stop() }
    try running([listener.endpoint]) { _, collector in
      for _ in 0..<3000 where collector.checks.count < 6 { usleep(10_000) }
      let answers = collector.checks.compactMap(\.speaksTLS)
      #expect(answers == [false])
      #expect(collector.checks.allSatisfy { $0.outcome == .open && $0.source != nil })
    }
  }

  @Test func `after an error it looks at once, and more often`() throws {
    let bound = try #require(Bound())
    let probe = PortProbe(targets: [bound.endpoint], interval: .seconds(3600))
    let collector = Collector()
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(collector.check(of: bound.endpoint) != nil)
    usleep(100_000)
    #expect(collector.checks.count == 1)
    probe.hurry(bound.endpoint)
    for _ in 0..<3000 where collector.checks.count < 5 { usleep(10_000) }
    #expect(collector.checks.count >= 5)
  }

  @Test func `what was checked is counted`() throws {
    let bound = try #require(Bound())
    try running([bound.endpoint]) { probe, collector in
      #expect(collector.check(of: bound.endpoint) != nil)
      probe.stop()
      let counters = collector.all.compactMap { observation -> Counters? in
        if case .counters(let counters) = observation.fact { counters } else { nil }
      }.last
      let count = UInt64(collector.checks.count)
      #expect(
        counters
          == Counters(source: "ports", seen: count, lost: 0, details: ["refused": count]))
    }
  }
}

/// Outcomes that need a network of the test's own.
@Suite(.serialized, .enabled(if: getuid() == 0 && access("/usr/sbin/ip", X_OK) == 0))
struct PortNamespaceTests {
  private static let silent = Endpoint(address: IPAddress(v4: 0x0a66_0003), port: 80)
  private static let noRoute = Endpoint(address: IPAddress(v4: 0x0a64_0001), port: 80)
  private static let prohibited = Endpoint(address: IPAddress(v4: 0x0a65_0001), port: 80)
  private static let noNeighbour = Endpoint(address: IPAddress(v4: 0x0a66_0002), port: 80)

  @Test func `silence, no route, a ban and an absent neighbour are told apart`() throws {
    let targets = [Self.silent, Self.noRoute, Self.prohibited, Self.noNeighbour]
    let probe = PortProbe(
      targets: targets, interval: .milliseconds(500), timeout: .seconds(4))
    let collector = Collector()
    // The sockets belong to the namespace of the thread that starts the probe.
    let thread = try ProbeThread.start("test-netns") { _ in
      guard clinux_unshare(clinux_CLONE_NEWNET) == 0 else { return }
      let setUp = """
        set -e
        ip link set lo up
        ip link add wire type veth peer name end
        ip addr add 10.102.0.1/24 dev wire
        ip link set wire up
        echo 50 > /proc/sys/net/ipv4/neigh/wire/retrans_time_ms
        ip link set end up
        ip neigh add 10.102.0.3 lladdr 02:00:00:00:00:01 dev wire
        ip route add prohibit 10.101.0.0/24
        """
      guard shell(setUp) == 0 else { return }
      try? probe.start(collector.sink)
    }
    thread.stop()
    defer { probe.stop() }
    let noRoute = try #require(collector.check(of: Self.noRoute))
    #expect(noRoute.outcome == .unreachable)
    #expect(noRoute.reason == "this host has no route to it (Network is unreachable)")
    let prohibited = try #require(collector.check(of: Self.prohibited))
    #expect(prohibited.outcome == .unreachable)
    #expect(prohibited.reason == "a route of this host prohibits it (Permission denied)")
    let noNeighbour = try #require(collector.check(of: Self.noNeighbour))
    #expect(noNeighbour.outcome == .unreachable)
    #expect(
      noNeighbour.reason
        == "host unreachable: no answer to ARP (ICMP 3/1 from this host)")
    let silent = try #require(collector.check(of: Self.silent))
    #expect(silent.outcome == .timeout)
    #expect(silent.reason?.hasPrefix("no answer to ") == true)
    #expect(silent.source?.address == IPAddress(v4: 0x0a66_0001))
  }
}

/// Runs commands in the namespaces of the calling thread.
private func shell(_ script: String) -> Int32 {
  var pid: pid_t = 0
  let words: [String] = ["sh", "-c", script]
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
  arguments.append(nil)
  defer { for argument in arguments { free(argument) } }
  guard posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, environ) == 0 else { return -1 }
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  return status
}
