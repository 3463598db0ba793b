import Evidence
import Glibc
import LinuxHost
import Synchronization

@testable import TraceProbe

/// Collects what a probe yields.
final class Collector: Sendable {
  private let observations = Mutex<[Observation]>([])

  var sink: ObservationSink {
    { [self] observation in observations.withLock { $0.append(observation) } }
  }

  var all: [Observation] { observations.withLock { $0 } }

  var acts: [SocketAct] {
    all.compactMap { if case .socketAct(let act) = $0.fact { act } else { nil } }
  }

  var resets: [ResetSent] {
    all.compactMap { if case .resetSent(let reset) = $0.fact { reset } else { nil } }
  }

  var signals: [SignalSent] {
    all.compactMap { if case .signal(let signal) = $0.fact { signal } else { nil } }
  }

  /// Waits, generously, until it holds.
  func wait(until condition: (Collector) -> Bool) -> Bool {
    for _ in 0..<3000 {
      if condition(self) { return true }
      usleep(10_000)
    }
    return false
  }
}

/// A program of the test's own; killed and reaped at the latest when it is let go.
final class Child {
  let pid: pid_t
  private var isReaped = false

  init?(_ words: [String]) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var pid: pid_t = 0
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    guard let program = words.first,
      posix_spawnp(&pid, program, &actions, nil, &arguments, environ) == 0
    else { return nil }
    self.pid = pid
  }

  convenience init?(shell script: String) { self.init(["sh", "-c", script]) }

  /// Waits until it has ended.
  @discardableResult
  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    isReaped = true
    return status
  }

  deinit {
    guard !isReaped else { return }
    kill(pid, SIGKILL)
    wait()
  }
}

/// A backend of the lab on a free port of 127.0.0.1: a master and its worker.
final class Backend {
  let endpoint: Endpoint
  private let master: Child

  init?() {
    guard let port = Self.freePort() else { return nil }
    endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
    guard
      let child = Child([
        Self.program, "--listen", endpoint.description, "--idle-timeout", "30",
      ])
    else { return nil }
    master = child
    for _ in 0..<3000 where worker == nil { usleep(10_000) }
    // It answers once its worker runs.
    for _ in 0..<100 where get("/") != 0 { usleep(50_000) }
  }

  static let program: String = {
    let own = readLink("/proc/self/exe") ?? ""
    return "\(own.lastIndex(of: "/").map { own[..<$0] } ?? "")/lab-backend"
  }()

  var masterPID: Int32 { master.pid }

  var worker: Int32? { ProcTable().children(master.pid).first }

  /// Asks for a page with a program of its own, and waits for the answer or the end.
  @discardableResult
  func get(_ path: String) -> Int32 {
    Child(["curl", "-s", "-m", "20", "-H", "Connection: close", "http://\(endpoint)\(path)"])?
      .wait() ?? -1
  }

  deinit {
    kill(master.pid, SIGTERM)
    master.wait()
  }

  static func freePort() -> UInt16? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
      }
    }
    return result == 0 ? UInt16(bigEndian: address.sin_port) : nil
  }
}

/// Our instances in the host's tracing directory.
func tracingInstances() -> [String] {
  guard let root = try? TraceRoot() else { return [] }
  return entries(root, "instances").filter { $0.hasPrefix(TraceInstance.prefix) }
}
