public import Evidence
import Glibc
import LinuxHost
import Synchronization

/// One backend of the lab: a `lab-backend` master and its worker, in the backends' namespace.
public final class LabBackend: Sendable {
  /// `A` or `B`.
  public let name: String
  public let endpoint: Endpoint
  /// Directory of the memory cgroup in which its workers live.
  public let memoryCgroup: String
  /// Standard error of its processes.
  public let logPath: String
  private let program: String
  private let idleTimeout: TimeSpan
  private let namespace: Namespace
  private let pid = Mutex<pid_t?>(nil)

  init(
    name: String, endpoint: Endpoint, program: String, idleTimeout: TimeSpan,
    memoryCgroup: MemoryCgroup, directory: String, namespace: Namespace
  ) {
    self.name = name
    self.endpoint = endpoint
    self.program = program
    self.idleTimeout = idleTimeout
    self.memoryCgroup = memoryCgroup.path
    self.namespace = namespace
    logPath = "\(directory)/backend-\(name).log"
  }

  /// The master's; nil while the backend is stopped.
  public var masterPID: Int32? { pid.withLock { $0 } }

  /// The process that serves its connections; nil while there is none.
  public var workerPID: Int32? { masterPID.flatMap { children(of: $0).first } }

  /// Starts it, and waits until it listens and has a worker.
  func start() throws {
    let arguments = [
      "--listen", endpoint.description, "--idle-timeout", "\(idleTimeout.seconds)",
      "--name", name, "--memory-cgroup", memoryCgroup,
    ]
    let (program, logPath, endpoint) = (program, logPath, endpoint)
    let started = try namespace.run { try spawn(program, arguments, output: logPath) }
    pid.withLock { $0 = started }
    try wait(until: "backend \(name) listens on \(endpoint)") {
      guard waitpid(started, nil, WNOHANG) == 0 else {
        pid.withLock { $0 = nil }
        throw ProbeError(doing: "start backend \(name)", reason: lastLine(of: logPath))
      }
      guard workerPID != nil else { return false }
      return try namespace.run { try TCPTable().isListening(endpoint) }
    }
  }

  /// Ends it, and waits until it has; nothing to do when it is stopped.
  func stop() {
    let ending = pid.withLock { pid in
      defer { pid = nil }
      return pid
    }
    if let ending { endChild(ending) }
  }
}

/// What a program said last, as a reason.
func lastLine(of path: String) -> String {
  let lines = ((try? readFile(path)) ?? []).split(separator: 10)
  return lines.last.map { String(escapingControlsIn: $0) } ?? "it ended and said nothing"
}
