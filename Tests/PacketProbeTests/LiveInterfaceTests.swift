import CLinux
import Evidence
import Glibc
import LinuxHost
import Testing

@testable import PacketProbe

/// Interfaces of a network namespace of the test's own: bridges, veth pairs, and one that goes away.
@Suite(.enabled(if: getuid() == 0)) struct LiveInterfaceTests {
  /// A container's network: the server behind a veth pair that hangs on a bridge, the client on the
  /// bridge itself. `any` sees each packet on the bridge and on its port.
  @Test func `a packet that crosses a bridge is counted once`() throws {
    let server = Endpoint(address: IPAddress(v4: 0x0ae7_1502), port: 18080)
    let seen = try inNamespace { log in
      let other = try OtherNamespace()
      defer { other.close() }
      try run("ip", "link", "add", "br0", "type", "bridge")
      try other.connect(host: "port0", inside: "eth0")
      try run("ip", "link", "set", "port0", "master", "br0", "up")
      try run("ip", "address", "add", "10.231.21.1/24", "dev", "br0")
      try run("ip", "link", "set", "br0", "up")
      try other.run("ip", "address", "add", "10.231.21.2/24", "dev", "eth0")
      try other.run("ip", "link", "set", "eth0", "up")
      let probe = PacketProbe(host: "test", upstreams: UpstreamFilter(endpoints: [server]))
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try other.serve(at: server) { listener in try closeAfterRequest(listener, abort: false) }
      log.wait { $0.contains { $0.connState == .sf } }
    }
    let connection = try #require(seen.connections.last)
    #expect(connection.connState == .sf)
    #expect(connection.exchanges == 1)
    // No letter for a retransmission, and each side's packets as on one wire.
    #expect(!connection.history.lowercased().contains("t"), "\(connection.history)")
    let books = try #require(seen.counters.last)
    let copies = books.details["duplicates"] ?? 0
    #expect(copies > 0)
    #expect(books.seen - copies == connection.originatorPackets + connection.responderPackets)
    #expect(books.lost == 0)
  }

  @Test func `an interface that is deleted and made again is captured again`() throws {
    let server = Endpoint(address: IPAddress(v4: 0x0ae7_1602), port: 18080)
    let seen = try inNamespace { log in
      let other = try OtherNamespace()
      defer { other.close() }
      func plug() throws {
        try other.connect(host: "veth0", inside: "eth0")
        try run("ip", "address", "add", "10.231.22.1/24", "dev", "veth0")
        try run("ip", "link", "set", "veth0", "up")
        try other.run("ip", "address", "add", "10.231.22.2/24", "dev", "eth0")
        try other.run("ip", "link", "set", "eth0", "up")
      }
      try plug()
      var settings = PacketProbe.Settings()
      settings.device = "veth0"
      let probe = PacketProbe(
        host: "test", upstreams: UpstreamFilter(endpoints: [server]), settings: settings)
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try other.serve(at: server) { listener in try closeAfterRequest(listener, abort: false) }
      log.wait { $0.contains { $0.connState == .sf } }
      try run("ip", "link", "delete", "veth0")
      for _ in 0..<3000 where log.blindSpots.isEmpty { usleep(10_000) }
      try plug()
      // It is looked for twice a second: try until one close is seen.
      for _ in 0..<100 where !log.connections.contains(where: { $0.manner == .activeReset }) {
        try other.serve(at: server) { listener in try closeAfterRequest(listener, abort: true) }
        usleep(100_000)
      }
    }
    #expect(seen.blindSpots.map(\.id) == [captureStoppedBlindSpot])
    #expect(seen.blindSpots.first?.what.contains("veth0") == true)
    #expect(seen.connections.contains { $0.manner == .fin && $0.connState == .sf })
    #expect(seen.connections.contains { $0.manner == .activeReset })
  }
}

/// A second network namespace, without a name: it lives as long as this.
private final class OtherNamespace {
  private let own: Int32
  private let other: Int32

  init() throws {
    own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    try #require(clinux_unshare(clinux_CLONE_NEWNET) == 0)
    other = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    try #require(clinux_setns(own, clinux_CLONE_NEWNET) == 0)
  }

  func close() {
    _ = clinux_setns(own, clinux_CLONE_NEWNET)
    Glibc.close(own)
    Glibc.close(other)
  }

  /// A veth pair from here into it.
  func connect(host: String, inside: String) throws {
    // `ip` takes a namespace by pid or name only, and this has neither: a descriptor's path does.
    try PacketProbeTests.run(
      "ip", "link", "add", host, "type", "veth", "peer", "name", inside, "netns",
      "/proc/\(getpid())/fd/\(other)")
  }

  func run(_ words: String...) throws {
    try enter { try PacketProbeTests.run(words) }
  }

  /// Listens in there; the body connects from here.
  func serve(at endpoint: Endpoint, _ body: (borrowing Listener) throws -> Void) throws {
    let listener = try enter { try Listener(endpoint) }
    try body(listener)
  }

  private func enter<Result: ~Copyable>(_ body: () throws -> Result) throws -> Result {
    try #require(clinux_setns(other, clinux_CLONE_NEWNET) == 0)
    defer { _ = clinux_setns(own, clinux_CLONE_NEWNET) }
    return try body()
  }
}
