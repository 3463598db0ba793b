import Evidence
import Glibc
import ProbeTesting
import Testing

@testable import SocketProbe

@Suite struct SocketProbeTests {
  private func loopback(_ port: UInt16) -> Endpoint {
    Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
  }

  @Test func `a listener and both ends of a flow are told with their inodes`() throws {
    let listener = try #require(TestSocket.listener(backlog: 16))
    let other = try #require(TestSocket.listener())
    let port = listener.port
    let probe = SocketProbe(
      watching: [loopback(port)], host: "web1", interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(collector.wait { $0.sockets.contains { $0.role == .listener } })
    let client = try #require(TestSocket.connect(port: port))
    let server = try #require(listener.accept())
    let namespace = NamespaceFinder(proc: "/proc").current()
    let expected: Set<SocketSighting> = [
      SocketSighting(
        role: .listener, local: loopback(port), inode: listener.inode, namespace: namespace,
        queued: 0, backlog: 16),
      SocketSighting(
        role: .originator, local: loopback(client.port), remote: loopback(port),
        inode: client.inode, namespace: namespace),
      SocketSighting(
        role: .responder, local: loopback(port), remote: loopback(client.port),
        inode: server.inode, namespace: namespace),
    ]
    #expect(collector.wait { expected.isSubset(of: $0.sockets) })
    #expect(!collector.sockets.contains { $0.inode == other.inode })
    #expect(collector.all.allSatisfy { $0.host == "web1" })
    // Watched while it runs.
    probe.watch([loopback(other.port)])
    #expect(collector.wait { $0.sockets.contains { $0.inode == other.inode } })
  }

  @Test func `a listener on every address takes connections to the host's own addresses`() throws {
    let listener = try #require(TestSocket.listener(everywhere: true))
    let port = listener.port
    let foreign = Endpoint(address: IPAddress(v4: 0xc000_0207), port: port)
    let probe = SocketProbe(watching: [foreign], interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    // Two looks, and nobody here answers for 192.0.2.7.
    let looked = collector.wait { collector in
      collector.all.contains { if case .counters = $0.fact { true } else { false } }
    }
    #expect(looked)
    #expect(collector.sockets.isEmpty)
    probe.watch([loopback(port)])
    #expect(
      collector.wait { $0.sockets.contains { $0.inode == listener.inode && $0.role == .listener } })
    // A connection to it is IPv4 in an IPv6 socket.
    let client = try #require(TestSocket.connect(port: port))
    let server = try #require(listener.accept())
    #expect(
      collector.wait {
        $0.sockets.contains {
          $0.role == .responder && $0.local == loopback(port)
            && $0.remote == loopback(client.port) && $0.inode == server.inode
        }
      })
  }

  @Test func `a full accept queue is told`() throws {
    let listener = try #require(TestSocket.listener(backlog: 4))
    let port = listener.port
    let probe = SocketProbe(watching: [loopback(port)], interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(collector.wait { $0.sockets.contains { $0.queued == 0 } })
    let clients = (0..<4).compactMap { _ in TestSocket.connect(port: port) }
    #expect(clients.count == 4)
    #expect(collector.wait { $0.sockets.contains { $0.queued == 4 && $0.backlog == 4 } })
  }

  @Test func `nothing is watched, and it stops`() throws {
    let probe = SocketProbe(watching: [], interval: .milliseconds(10))
    #expect(throws: ProbeError.self) { try probe.start { _ in } }
    try probe.open()
    try probe.start { _ in }
    probe.stop()
    probe.stop()
  }
}

/// Backends in network namespaces of their own, as containers are.
@Suite(.serialized, .enabled(if: getuid() == 0 && run("command -v ip >/dev/null") == 0))
struct NamespaceTests {
  private struct Backend: Sendable {
    var pid: pid_t
    var port: UInt16
    var inode: UInt64
    var namespace: UInt64
  }

  /// A process that holds a listener in a namespace that is then its alone.
  private func start() throws -> Backend? {
    try inNewNetworkNamespace { () -> Backend? in
      guard let listener = TestSocket.listener(),
        let child = Child(shell: "exec sleep 1000", inheriting: [listener.descriptor])
      else { return nil }
      let backend = Backend(
        pid: child.pid, port: listener.port, inode: listener.inode,
        namespace: NamespaceFinder(proc: "/proc").current())
      child.abandon()
      return backend
    } ?? nil
  }

  private func end(_ backend: Backend) {
    kill(backend.pid, SIGKILL)
    var status: Int32 = 0
    waitpid(backend.pid, &status, 0)
  }

  private func isTold(_ backend: Backend, _ collector: Collector) -> Bool {
    collector.sockets.contains {
      $0.role == .listener && $0.inode == backend.inode && $0.namespace == backend.namespace
    }
  }

  @Test func `namespaces that were there and that come later are looked into`() throws {
    let first = try #require(try start())
    defer { end(first) }
    let own = NamespaceFinder(proc: "/proc").current()
    #expect(first.namespace != own)
    let probe = SocketProbe(
      watching: [Endpoint(address: IPAddress(v4: 0x7f00_0001), port: first.port)],
      interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    #expect(NamespaceFinder(proc: "/proc").current() == own)
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(collector.wait { isTold(first, $0) })
    let second = try #require(try start())
    defer { end(second) }
    probe.watch([
      Endpoint(address: IPAddress(v4: 0x7f00_0001), port: second.port)
    ])
    #expect(collector.wait { isTold(second, $0) })
  }

  @Test func `a namespace that may not be entered is seen from outside`() throws {
    let backend = try #require(try start())
    defer { end(backend) }
    let path = "/proc/\(backend.pid)/net"
    let view = NetworkNamespace(inode: backend.namespace, path: path)
    let endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: backend.port)
    let watch = Watch([endpoint])
    var sightings: [SocketSighting] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
    defer { buffer.deallocate() }
    try view.forEachSocket([], ports: watch.ports, buffer) { socket in
      if let sighting = watch.sighting(of: socket, in: view) { sightings.append(sighting) }
    }
    #expect(
      sightings == [
        SocketSighting(
          role: .listener, local: endpoint, inode: backend.inode, namespace: backend.namespace,
          queued: 0)
      ])
    #expect(ProcNetwork(path: path).addresses().contains(endpoint.address))
    #expect(ProcNetwork(path: "/proc/0/net").addresses().isEmpty)
  }

  @Test func `a namespace whose processes have ended is let go`() throws {
    let backend = try #require(try start())
    let probe = SocketProbe(
      watching: [Endpoint(address: IPAddress(v4: 0x7f00_0001), port: backend.port)],
      interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(collector.wait { isTold(backend, $0) })
    func namespaces(_ collector: Collector) -> [UInt64] {
      collector.all.compactMap {
        if case .counters(let counters) = $0.fact { counters.details["namespaces"] } else { nil }
      }
    }
    // The books of a round come after its sightings.
    #expect(collector.wait { (namespaces($0).max() ?? 0) > 1 })
    end(backend)
    #expect(
      collector.wait { collector in
        collector.all.contains {
          if case .counters(let counters) = $0.fact { counters.details["open"] == 0 } else { false }
        }
      })
  }
}
