import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// How a backend is started, and how nginx talks to it.
struct Launch: Sendable {
  var program: String
  var arguments: [String]
  var environment: [String: String] = [:]
  /// The location's body in nginx's configuration; GROUP stands for the upstream's name.
  var pass = "proxy_pass http://GROUP;"
  /// Lines for its upstream block.
  var upstream = "keepalive 32;"
  /// Path of the UNIX socket that it listens on, instead of its endpoint.
  var unixSocket: String?
  /// Ends it as its own script would.
  var stopSignal = SIGTERM
}

/// One backend of a scenario: a real server program in the backends' namespace.
final class Server: Sendable {
  let name: String
  let kind: String
  let endpoint: Endpoint
  let launch: Launch
  /// What its application did, see `Deed`.
  let deeds: String
  let logPath: String
  private let namespace: Namespace
  private let pid = Mutex<pid_t?>(nil)

  init(
    name: String, kind: String, endpoint: Endpoint, launch: Launch, directory: String,
    namespace: Namespace
  ) {
    self.name = name
    self.kind = kind
    self.endpoint = endpoint
    self.launch = launch
    self.namespace = namespace
    deeds = "\(directory)/\(name).deeds"
    logPath = "\(directory)/\(name).log"
  }

  /// As nginx's error line names it.
  var upstreamName: String { launch.unixSocket.map { "unix:\($0)" } ?? endpoint.description }
  var address: String { launch.unixSocket.map { "unix:\($0)" } ?? endpoint.description }

  var masterPID: pid_t? { pid.withLock { $0 } }

  /// The process that has served this token, by its own word.
  func worker(of token: String) -> pid_t? { Deed.of(token, in: deeds)?.pid }

  /// Starts it, and waits until it listens.
  func start() throws {
    let variables = launch.environment.map { "\($0.key)=\($0.value)" } + ["LAB_DEEDS=\(deeds)"]
    let arguments =
      ["--pdeathsig", "TERM", "env"] + variables + [launch.program] + launch.arguments
    guard let setpriv = findProgram("setpriv") else {
      throw ProbeError(doing: "find setpriv", reason: "it is of util-linux")
    }
    let (logPath, endpoint) = (logPath, endpoint)
    let started = try namespace.run { try spawn(setpriv, arguments, output: logPath) }
    pid.withLock { $0 = started }
    try wait(until: "backend \(name) (\(kind)) listens") {
      guard waitpid(started, nil, WNOHANG) == 0 else {
        pid.withLock { $0 = nil }
        throw ProbeError(doing: "start backend \(name) (\(kind))", reason: tail(of: logPath))
      }
      if let socket = launch.unixSocket { return access(socket, F_OK) == 0 }
      return try namespace.run { try TCPTable().isListening(endpoint) }
    }
  }

  /// - Parameter signal: nil: the one that its own script would send.
  func signal(_ signal: Int32) {
    if let pid = masterPID { kill(pid, signal) }
  }

  /// Waits until it has ended after a signal; nothing to do when it is stopped.
  func awaitEnd() {
    let ending = pid.withLock { pid in
      defer { pid = nil }
      return pid
    }
    if let ending {
      let end = monotonicMilliseconds() + 5000
      while waitpid(ending, nil, WNOHANG) == 0 {
        if monotonicMilliseconds() >= end { kill(ending, SIGKILL) }
        usleep(2000)
      }
    }
    if let socket = launch.unixSocket { unlink(socket) }
  }

  func stop() {
    signal(launch.stopSignal)
    awaitEnd()
  }

  var isListening: Bool {
    let endpoint = endpoint
    return (try? namespace.run { try TCPTable().isListening(endpoint) }) ?? false
  }
}

/// What a program said last, as a reason.
func tail(of path: String) -> String {
  let lines = ((try? readFile(path)) ?? []).split(separator: 10).suffix(3)
  return lines.map { String(escapingControlsIn: $0) }.joined(separator: " | ")
}
