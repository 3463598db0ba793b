import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import PacketProbe

struct Listener: ~Copyable {
  let descriptor: Int32
  let family: Int32
  let endpoint: Endpoint

  /// On the loopback.
  init(six: Bool) throws {
    let address = six ? IPAddress(high: 0, low: 1) : IPAddress(v4: 0x7f00_0001)
    try self.init(Endpoint(address: address, port: 18080))
  }

  init(_ endpoint: Endpoint) throws {
    self.endpoint = endpoint
    family = endpoint.address.v4 == nil ? AF_INET6 : AF_INET
    descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
    var yes: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    try #require(withAddress(endpoint) { bind(descriptor, $0, $1) } == 0)
    try #require(listen(descriptor, 16) == 0)
  }

  deinit { close(descriptor) }
}

/// One request to the listener, which closes without an answer.
func closeAfterRequest(_ listener: borrowing Listener, abort: Bool) throws {
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

/// What a probe told, for another thread to look at.
final class Log: Sendable {
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

  var blindSpots: [BlindSpot] {
    observations.withLock { all in
      all.compactMap { if case .blindSpot(let spot) = $0.fact { spot } else { nil } }
    }
  }

  /// Waits until the connections told fulfil a condition, at most half a minute.
  func wait(_ condition: ([Connection]) -> Bool) {
    for _ in 0..<3000 where !condition(connections) { usleep(10_000) }
  }
}

/// Runs the body in a thread of its own with a network namespace of its own, whose loopback is up.
func inNamespace(_ body: @escaping @Sendable (Log) throws -> Void) throws -> Log {
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

final class Failure: Sendable {
  let error = Mutex<(any Error)?>(nil)
}

func bringUpLoopback() throws { try run("ip", "link", "set", "lo", "up") }

/// Runs a program to its end, in the calling thread's namespace.
func run(_ words: String...) throws { try run(words) }

func run(_ words: [String]) throws {
  var pid = pid_t()
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
  defer { for argument in arguments { free(argument) } }
  arguments.append(nil)
  try #require(posix_spawnp(&pid, words[0], nil, nil, arguments, environ) == 0)
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  try #require(status == 0, "\(words.joined(separator: " ")) failed")
}

func withAddress<Result>(
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
func connect(_ descriptor: Int32, to endpoint: Endpoint) -> Int32 {
  withAddress(endpoint) { Glibc.connect(descriptor, $0, $1) == 0 ? 0 : errno }
}
