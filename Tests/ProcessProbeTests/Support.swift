import Evidence
import Glibc
import Synchronization

/// Collects what a probe yields.
final class Collector: Sendable {
  private let observations = Mutex<[Observation]>([])

  var sink: ObservationSink {
    { [self] observation in observations.withLock { $0.append(observation) } }
  }

  var all: [Observation] { observations.withLock { $0 } }

  var processes: [ProcessSighting] {
    all.compactMap { if case .process(let sighting) = $0.fact { sighting } else { nil } }
  }

  var exits: [ProcessExit] {
    all.compactMap { if case .processExit(let exit) = $0.fact { exit } else { nil } }
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

/// A listening TCP socket of the loopback.
final class Listener {
  let descriptor: Int32
  let inode: UInt64

  init?() {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var status = stat()
    inode = fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
    guard descriptor >= 0, listen(descriptor, 16) == 0 else { return nil }
  }

  deinit { close(descriptor) }
}

/// A process of the test's own; killed (with its process group) and reaped at the latest when it is
/// let go.
final class Child {
  let pid: pid_t
  private var isReaped = false

  /// - Parameters:
  ///   - descriptors: it gets them under the same number.
  ///   - input: its standard input.
  init?(shell script: String, inheriting descriptors: [Int32] = [], input: Int32 = 0) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // A duplicate onto itself stays open across exec.
    for descriptor in descriptors {
      posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor)
    }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    var pid: pid_t = 0
    let words: [String] = ["sh", "-c", script]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    guard posix_spawn(&pid, "/bin/sh", &actions, &attributes, &arguments, environ) == 0 else {
      return nil
    }
    self.pid = pid
  }

  /// Waits until it has ended.
  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    isReaped = true
    return status
  }

  deinit {
    kill(-pid, SIGKILL)
    if !isReaped { _ = wait() }
  }
}
