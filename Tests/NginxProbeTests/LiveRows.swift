import CLinux
import Correlator
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import NginxProbe

/// What an error came to.
struct Outcome: Equatable, Sendable, CustomStringConvertible {
  var message: NginxMessage
  var errno: Int32?
  var status: Int?
  var tries: [Int?]
  var retried: Bool?
  var because: String?

  init(
    _ message: NginxMessage, errno: Int32? = nil, _ status: Int?, _ tries: [Int?],
    retried: Bool? = false, _ because: String? = nil
  ) {
    self.message = message
    self.errno = errno
    self.status = status
    self.tries = tries
    self.retried = retried
    self.because = because
  }

  init(_ incident: Incident) {
    let text = incident.message
    let start = text.firstRange(of: "(errno ")?.upperBound
    self.init(
      incident.kind,
      errno: start.flatMap { Int32(text[$0...].prefix { $0.isNumber }) },
      incident.clientStatus, incident.aftermath?.tries.map(\.status) ?? [],
      retried: incident.retried, incident.aftermath?.notRetriedBecause)
  }

  var description: String {
    "\(message) \(errno ?? 0) -> \(status ?? -1) \(tries) \(retried.map { "\($0)" } ?? "-") "
      + (because ?? "")
  }

  static let single = "the group has but one peer"
  static let late = "the client had the response's header already"
  static let post = "POST is not sent twice (proxy_next_upstream without non_idempotent)"
}

/// An nginx in a network of its own, and what it wrote.
final class LiveRows {
  /// What is left of it.
  struct Result: Sendable {
    /// By location.
    var outcomes: [String: [Outcome]] = [:]
    /// Lines that are no failures, by kind.
    var others: [NginxMessage: Int] = [:]
    /// Fields of the access log's lines, by location: status, addresses, statuses, times to connect,
    /// bytes sent, ...
    var requests: [String: [String]] = [:]
  }

  private(set) var nginx: RealNginx
  private(set) var expectedRequests = 0

  /// - Parameter http: of the `http` block.
  init(http: String) throws {
    nginx = try RealNginx(
      http: """
        proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 0;
        \(http)
        """)
  }

  func client() -> Peer { Peer(to: nginx.port) }

  /// A client that has asked.
  func ask(
    _ path: String, method: String = "GET", length: Int? = nil, upgrade: Bool = false
  ) -> Peer {
    expectedRequests += 1
    let client = client()
    client.ask(path, method: method, length: length, upgrade: upgrade)
    return client
  }

  /// Another request of a client that has had its answer.
  func ask(_ client: Peer, _ path: String, method: String = "GET", length: Int? = nil) {
    expectedRequests += 1
    client.ask(path, method: method, length: length)
  }

  func result() throws -> Result {
    let log = nginx.directory["access.log"]
    eventually("every request in the access log") {
      (try? readFile(log).count { $0 == 10 }) ?? 0 >= expectedRequests
    }
    var result = Result()
    for line in String(decoding: try readFile(log), as: UTF8.self).split(separator: "\n") {
      guard let path = line.split(separator: "\"").last?.split(separator: " ").dropFirst().first
      else { continue }
      let status = String(line.split(separator: " ")[5])
      let lists = line.split(separator: "[").dropFirst().map { $0.prefix { $0 != "]" } }
      result.requests[String(path.dropFirst())] = [status] + lists.map(String.init)
    }
    for incident in try incidents(&result) {
      let path = incident.request?.split(separator: " ").dropFirst().first?.dropFirst() ?? ""
      result.outcomes[String(path), default: []].append(Outcome(incident))
    }
    return result
  }

  private func incidents(_ result: inout Result) throws -> [Incident] {
    var observations: [Observation] = []
    var connections: Set<UInt64> = []
    let errors = try ErrorLogFile(nginx.errorLog, options: LogOptions())
    while let observation = try errors.next() {
      observations.append(observation)
      guard case .nginxLine(let line) = observation.fact else { continue }
      if !line.message.isUpstreamFailure { result.others[line.message, default: 0] += 1 }
      if let connection = line.connection { connections.insert(connection) }
    }
    let requests = try AccessLogFile(
      nginx.directory["access.log"], formats: [.recommended], options: LogOptions(),
      watchedConnections: connections)
    while let observation = try requests.next() { observations.append(observation) }
    var correlator = Correlator()
    let loaded = try LoadedNginx(
      file: nginx.configurationPath, version: NginxBuild(binary: "/usr/sbin/nginx")?.version)
    correlator.observe(
      Observation(
        host: "a", time: TimeEstimate(exactly: currentTime()), fact: .nginx(loaded.instance)))
    for observation in observations { correlator.observe(observation) }
    _ = correlator.finish()
    return correlator.summary().incidents
  }
}

/// Runs something in a network namespace of its own, on a thread of its own.
final class Network<Result: Sendable>: Sendable {
  private let thread: ProbeThread
  private let box = Box()

  private final class Box: Sendable {
    let result = Mutex<Swift.Result<Result, any Error>?>(nil)
  }

  init(_ body: @escaping @Sendable () throws -> Result) throws {
    let box = box
    thread = try ProbeThread.start("network") { _ in
      let result = Swift.Result {
        guard clinux_unshare(clinux_CLONE_NEWNET) == 0 else {
          throw ProbeError(doing: "unshare", reason: errorText(errno))
        }
        _ = try runCommand("/sbin/ip", ["ip", "link", "set", "lo", "up"])
        return try body()
      }
      box.result.withLock { $0 = result }
    }
  }

  func result() throws -> Result {
    thread.stop()
    guard let result = box.result.withLock({ $0 }) else {
      throw ProbeError(doing: "run in a network", reason: "it said nothing")
    }
    return try result.get()
  }
}

/// Sets a value below `/proc/sys` of this thread's network.
func setNetwork(_ name: String, _ value: String) {
  let descriptor = open("/proc/sys/net/ipv4/\(name)", O_WRONLY)
  guard descriptor >= 0 else { return }
  _ = write(descriptor, value, value.utf8.count)
  close(descriptor)
}
