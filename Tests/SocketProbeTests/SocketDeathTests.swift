import CLinux
import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import SocketProbe

/// The kernel's last words on a socket, its counters, and UNIX sockets.
@Suite struct SocketDeathTests {
  private func deaths(_ collector: Collector) -> [SocketDeath] {
    collector.all.compactMap {
      if case .socketDeath(let death) = $0.fact { death } else { nil }
    }
  }

  @Test(.enabled(if: getuid() == 0))
  func `the end of a flow that nobody sampled is told with what went over it`() throws {
    let listener = try #require(TestSocket.listener())
    let endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: listener.port)
    // Ten seconds between looks: only the kernel's word comes in time.
    let probe = SocketProbe(watching: [endpoint], host: "web1", interval: .seconds(10))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    try exchange(with: listener)
    #expect(collector.wait { deaths($0).count >= 2 })
    let server = try #require(deaths(collector).first { $0.role == .responder })
    let client = try #require(deaths(collector).first { $0.role == .originator })
    #expect(server.local == endpoint)
    #expect(server.flow == client.flow)
    #expect(server.namespace == NamespaceFinder(proc: "/proc").current())
    // Five bytes there, seven back; the FIN may count as one.
    #expect([5, 6].contains(server.bytesReceived))
    #expect([7, 8].contains(client.bytesReceived))
    #expect((server.bytesAcknowledged ?? 0) >= 7)
    #expect(server.sinceDataSent != nil)
    #expect(server.retransmissions == 0)
    #expect(collector.sockets.allSatisfy { $0.role == .listener })
  }

  private func exchange(with listener: TestSocket) throws {
    let client = try #require(TestSocket.connect(port: listener.port))
    let server = try #require(listener.accept())
    var buffer = [UInt8](repeating: 0, count: 16)
    #expect(write(client.descriptor, "hello", 5) == 5)
    #expect(read(server.descriptor, &buffer, 16) == 5)
    #expect(write(server.descriptor, "goodbye", 7) == 7)
    #expect(read(client.descriptor, &buffer, 16) == 7)
  }

  @Test func `a death's message is read whole or not at all`() {
    var information = [UInt8](repeating: 0, count: 160)
    func put(_ value: some FixedWidthInteger, at offset: Int) {
      withUnsafeBytes(of: value) {
        information.replaceSubrange(offset..<(offset + $0.count), with: $0)
      }
    }
    put(UInt32(250), at: 44)
    put(UInt32(70), at: 52)
    put(UInt32(1500), at: 68)
    put(UInt32(3), at: 100)
    put(UInt64(7), at: 120)
    put(UInt64(5), at: 128)
    put(UInt32(0), at: 152)
    put(UInt32(1), at: 156)
    let whole = information.withUnsafeBytes { TCPInformation($0) }
    #expect(whole.sinceDataSent == .milliseconds(250))
    #expect(whole.sinceDataReceived == nil)
    #expect(whole.rtt == .microseconds(1500))
    #expect(whole.retransmissions == 3)
    #expect(whole.bytesAcknowledged == 7)
    #expect(whole.bytesReceived == 5)
    // As Linux 3 sends it, and cut anywhere.
    for length in 0..<160 {
      let cut = information[..<length].withUnsafeBytes { TCPInformation($0) }
      #expect(cut.bytesReceived == (length >= 136 ? 5 : nil))
    }
    var message = [UInt8](repeating: 0, count: 16 + 72)
    message[0] = 88
    message[16] = UInt8(AF_INET)
    message.replaceSubrange(20..<24, with: [0x1f, 0x90, 0x9c, 0x41])
    var told: [DeathListener.Death] = []
    message.withUnsafeBytes { DeathListener.parse($0) { told.append($0) } }
    #expect(told.map(\.local.port) == [8080])
    #expect(told.map(\.remote.port) == [40001])
    for length in 0..<message.count {
      message[..<length].withUnsafeBytes { DeathListener.parse($0) { _ in Issue.record("read") } }
    }
  }

  @Test func `a filter of many ports stays within the kernel's steps`() {
    #expect(DeathListener.program(ports: [8080]).count == 7)
    #expect(DeathListener.program(ports: (1...1000).map { UInt16($0) }).count <= 4096)
    #expect(DeathListener.program(ports: (1...1001).map { UInt16($0) }).count == 1)
  }
}

@Suite struct HostCounterTests {
  @Test func `counters are read by name, whatever their order`() {
    let text = """
      TcpExt: SyncookiesSent ListenOverflows ListenDrops NewInSomeKernel
      TcpExt: 1 20 21 99
      IpExt: InNoRoutes ListenDrops
      IpExt: 5 6
      Tcp: RtoAlgorithm MaxConn RetransSegs OutRsts
      Tcp: 1 -1 7 8

      """
    #expect(
      HostCounters.pairs(Array(text.utf8)) == [
        "ListenOverflows": 20, "ListenDrops": 21, "RetransSegs": 7, "OutRsts": 8,
      ])
    #expect(HostCounters.pairs(Array("Tcp: OutRsts".utf8)) == [:])
    #expect(HostCounters.pairs(Array("Tcp: OutRsts\nTcp:".utf8)) == [:])
    #expect(HostCounters.pairs([]) == [:])
  }

  @Test func `connection tracking's are hexadecimal and one line a CPU`() {
    let text = """
      entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop
      00000000  00000000 00000000 00000000 0000000a 00000000 00000000 00000000 00000000 00000000 00000002 0
      00000000  00000000 00000000 00000000 00000010 00000000 00000000 00000000 00000000 00000000 00000000 0

      """
    #expect(
      HostCounters.trackingCounters(Array(text.utf8)) == [
        "conntrack invalid": 26, "conntrack insert_failed": 0, "conntrack drop": 2,
        "conntrack early_drop": 0,
      ])
    #expect(HostCounters.trackingCounters([]) == [:])
  }

  @Test func `differences add up over namespaces, and one that is gone keeps its part`() throws {
    let root = "/tmp/upclose-counters-\(getpid())"
    defer { run("rm -rf \(root)") }
    func write(_ pid: String, _ drops: Int) {
      run(
        "mkdir -p \(root)/\(pid)/net; printf 'TcpExt: ListenDrops\\nTcpExt: \(drops)\\n' "
          + "> \(root)/\(pid)/net/netstat")
    }
    var counters = HostCounters(proc: root)
    write("1", 100)
    write("2", 50)
    #expect(counters.read([10: "1", 20: "2"]) == [:])
    write("1", 103)
    write("2", 54)
    #expect(counters.read([10: "1", 20: "2"]) == ["ListenDrops": 7])
    #expect(counters.read([10: "1"]) == ["ListenDrops": 7])
    write("1", 104)
    #expect(counters.read([10: "1"]) == ["ListenDrops": 8])
  }

  @Test(.enabled(if: getuid() == 0))
  func `a real accept queue overflows and is counted in its own namespace`() throws {
    let counted = try inNewNetworkNamespace { () -> UInt64? in
      guard let listener = TestSocket.listener(backlog: 1) else { return nil }
      var counters = HostCounters(proc: "/proc")
      _ = counters.read([1: "thread-self"])
      // Connects that nobody accepts; those that find the queue full get no answer.
      let port = listener.port
      let clients = (0..<8).compactMap { _ in TestSocket.begin(port: port) }
      for _ in 0..<500 {
        if let drops = counters.read([1: "thread-self"])["ListenOverflows"] {
          return clients.isEmpty ? nil : drops
        }
        usleep(10_000)
      }
      return nil
    }
    #expect((counted.flatMap { $0 } ?? 0) > 0)
  }
}

@Suite struct UnixSocketTests {
  @Test func `a listener, its queue and both ends of a connection are told`() throws {
    let path = "/tmp/upclose-unix-\(getpid()).sock"
    defer { unlink(path) }
    unlink(path)
    let listener = try #require(TestSocket.unix(path, connecting: false))
    let probe = SocketProbe(
      watching: [Endpoint](), paths: [path], host: "web1", interval: .milliseconds(20))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    func told(_ collector: Collector) -> [UnixSocketSighting] {
      collector.all.compactMap {
        if case .unixSocket(let sighting) = $0.fact { sighting } else { nil }
      }
    }
    #expect(collector.wait { told($0).contains { $0.role == .listener && $0.queued == 0 } })
    let client = try #require(TestSocket.unix(path, connecting: true))
    let server = try #require(listener.accept())
    let namespace = NamespaceFinder(proc: "/proc").current()
    let expected: Set<UnixSocketSighting> = [
      UnixSocketSighting(
        role: .responder, path: path, inode: server.inode, peer: client.inode,
        namespace: namespace),
      UnixSocketSighting(
        role: .originator, path: path, inode: client.inode, peer: server.inode,
        namespace: namespace),
    ]
    #expect(collector.wait { expected.isSubset(of: told($0)) })
    // Nobody accepts: the queue of four fills.
    let waiting = (0..<4).compactMap { _ in TestSocket.unix(path, connecting: true) }
    #expect(waiting.count == 4)
    #expect(
      collector.wait {
        told($0).contains { $0.role == .listener && $0.queued == 4 && $0.backlog == 4 }
      })
  }

  @Test func `a message is read whole or not at all`() {
    var bytes: [UInt8] = [
      UInt8(AF_UNIX), 1, 10, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      8, 0, 0, 0, UInt8(ascii: "/"), UInt8(ascii: "a"), UInt8(ascii: "b"), 0,
      12, 0, 4, 0, 3, 0, 0, 0, 16, 0, 0, 0,
    ]
    func read(_ bytes: [UInt8]) -> DumpedUnixSocket? {
      bytes.withUnsafeBytes { DumpedUnixSocket($0) }
    }
    let socket = read(bytes)
    #expect(socket?.inode == 7)
    #expect(socket?.isListener == true)
    #expect(socket?.path == "/ab")
    #expect(socket?.queued == 3)
    #expect(socket?.backlog == 16)
    for length in 0..<16 { #expect(read(Array(bytes[..<length])) == nil) }
    for length in 16..<bytes.count { #expect(read(Array(bytes[..<length]))?.backlog == nil) }
    // An abstract name, and a datagram socket.
    bytes[20] = 0
    #expect(read(bytes)?.path == nil)
    bytes[1] = 2
    #expect(read(bytes) == nil)
  }
}
