import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import PacketProbe

/// Real sockets on the loopback of a network namespace of the test's own.
@Suite(.enabled(if: getuid() == 0)) struct LiveTests {
  @Test(arguments: [false, true]) func `a FIN, an abort and a refusal are told right`(
    six: Bool
  ) throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: six)
      let upstream = listener.endpoint
      // Nothing listens there.
      let closed = Endpoint(address: upstream.address, port: 1)
      let probe = PacketProbe(
        host: "test", upstreams: UpstreamFilter(endpoints: [upstream, closed]))
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      log.wait { $0.contains { $0.manner == .fin && $0.connState == .sf } }
      try closeAfterRequest(listener, abort: true)
      log.wait { $0.contains { $0.manner == .activeReset } }
      let refused = socket(six ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      let result = connect(refused, to: closed)
      #expect(result == ECONNREFUSED)
      close(refused)
      log.wait { $0.contains { $0.manner == .refused } }
    }
    struct Told: Equatable {
      var closer: Closer
      var manner: Manner?
      var phase: Phase
      var delivery: RequestDelivery
      var request: String?
    }
    var last: [UInt64: Connection] = [:]
    for connection in seen.connections { last[connection.id] = connection }
    let told = last.sorted { $0.key < $1.key }.map(\.value).map {
      Told(
        closer: $0.closer, manner: $0.manner, phase: $0.phase, delivery: $0.requestDelivery,
        request: $0.request)
    }
    #expect(
      told == [
        Told(
          closer: .responder, manner: .fin, phase: .awaitingResponse, delivery: .acknowledged,
          request: "GET /x"),
        Told(
          closer: .responder, manner: .activeReset, phase: .awaitingResponse,
          delivery: .acknowledged, request: "GET /x"),
        Told(
          closer: .responder, manner: .refused, phase: .connecting, delivery: .neverSent,
          request: nil),
      ])
    let books = try #require(seen.counters.last)
    #expect(books.source == "packets")
    #expect(books.lost == 0)
    #expect(books.details["connections"] == 3)
  }

  @Test func `other upstreams can be watched while it runs`() throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: false)
      let probe = PacketProbe(host: "test", upstreams: UpstreamFilter(ports: [1]))
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      probe.watch(UpstreamFilter(endpoints: [listener.endpoint]))
      // The change is taken within a tenth of a second: try until one is seen.
      for _ in 0..<100 where log.connections.isEmpty {
        try closeAfterRequest(listener, abort: true)
        usleep(100_000)
      }
    }
    #expect(seen.connections.first?.manner == .activeReset)
  }

  @Test func `a device that is not there says what is`() throws {
    _ = try inNamespace { _ in
      var settings = PacketProbe.Settings()
      settings.device = "nothing0"
      let probe = PacketProbe(host: "test", upstreams: nil, settings: settings)
      let error = #expect(throws: ProbeError.self) { try probe.open() }
      #expect(error?.doing == "capture on nothing0")
      #expect(error?.remedy == "`ip link` lists the interfaces, and `any` stands for all of them")
      probe.stop()
    }
  }

  // MARK: Means

  /// One request to the listener, which closes without an answer.
  private func closeAfterRequest(_ listener: borrowing Listener, abort: Bool) throws {
    let client = socket(listener.family, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(client) }
    try #require(connect(client, to: listener.endpoint) == 0)
    let server = accept(listener.descriptor, nil, nil)
    try #require(server >= 0)
    let request = Array("GET /x?y=1 HTTP/1.1\r\nHost: z\r\n\r\n".utf8)
    try #require(write(client, request, request.count) == request.count)
    var buffer = [UInt8](repeating: 0, count: 1000)
    try #require(read(server, &buffer, 1000) == request.count)
    if abort {
      var option = linger(l_onoff: 1, l_linger: 0)
      setsockopt(server, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }
    close(server)
    // The end has arrived when reading says so.
    _ = read(client, &buffer, 1000)
  }

  private struct Listener: ~Copyable {
    let descriptor: Int32
    let family: Int32
    let endpoint: Endpoint

    init(six: Bool) throws {
      family = six ? AF_INET6 : AF_INET
      let address = six ? IPAddress(high: 0, low: 1) : IPAddress(v4: 0x7f00_0001)
      endpoint = Endpoint(address: address, port: 18080)
      descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
      try #require(withAddress(endpoint) { bind(descriptor, $0, $1) } == 0)
      try #require(listen(descriptor, 16) == 0)
    }

    deinit { close(descriptor) }
  }
}

/// What a probe told, for another thread to look at.
private final class Log: Sendable {
  private let observations = Mutex<[Observation]>([])
  func add(_ observation: Observation) { observations.withLock { $0.append(observation) } }

  var connections: [Connection] {
    observations.withLock { all in
      all.compactMap { if case .connection(let connection) = $0.fact { connection } else { nil } }
    }
  }
  var counters: [Counters] {
    observations.withLock { all in
      all.compactMap { if case .counters(let counters) = $0.fact { counters } else { nil } }
    }
  }

  /// Waits until the connections told fulfil a condition, at most half a minute.
  func wait(_ condition: ([Connection]) -> Bool) {
    for _ in 0..<3000 where !condition(connections) { usleep(10_000) }
  }
}

/// Runs the body in a thread of its own with a network namespace of its own, whose loopback is up.
private func inNamespace(_ body: @escaping @Sendable (Log) throws -> Void) throws -> Log {
  let log = Log()
  let failure = Failure()
  let thread = try ProbeThread.start("test") { _ in
    do {
      try #require(clinux_unshare(clinux_CLONE_NEWNET) == 0)
      try bringUpLoopback()
      try body(log)
    } catch {
      failure.error.withLock { $0 = error }
    }
  }
  thread.stop()
  if let error = failure.error.withLock({ $0 }) { throw error }
  return log
}

private final class Failure: Sendable {
  let error = Mutex<(any Error)?>(nil)
}

private func bringUpLoopback() throws {
  var pid = pid_t()
  let words: [String] = ["ip", "link", "set", "lo", "up"]
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
  defer { for argument in arguments { free(argument) } }
  arguments.append(nil)
  try #require(posix_spawnp(&pid, "ip", nil, nil, arguments, environ) == 0)
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  try #require(status == 0)
}

private func withAddress<Result>(
  _ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  if let v4 = endpoint.address.v4 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = endpoint.port.bigEndian
    address.sin_addr.s_addr = v4.bigEndian
    return withUnsafePointer(to: address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
  var address = sockaddr_in6()
  address.sin6_family = sa_family_t(AF_INET6)
  address.sin6_port = endpoint.port.bigEndian
  withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
    bytes.storeBytes(of: endpoint.address.high.bigEndian, as: UInt64.self)
    bytes.storeBytes(of: endpoint.address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
  }
  return withUnsafePointer(to: address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
    }
  }
}

/// - Returns: 0, or the errno.
private func connect(_ descriptor: Int32, to endpoint: Endpoint) -> Int32 {
  withAddress(endpoint) { Glibc.connect(descriptor, $0, $1) == 0 ? 0 : errno }
}
