public import Glibc

/// A process of the test's own, in a process group of its own; killed with its group, and reaped, at
/// the latest when it is let go.
public final class Child {
  public let pid: pid_t
  private var isReaped = false

  /// - Parameters:
  ///   - words: the program, found as a shell would, and its arguments.
  ///   - descriptors: it gets them under the same number.
  ///   - input: its standard input; nil: this process's own.
  ///   - isQuiet: it reads nothing and its output goes nowhere.
  public init?(
    _ words: [String], inheriting descriptors: [Int32] = [], input: Int32? = nil,
    isQuiet: Bool = false
  ) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // A duplicate onto itself stays open across exec.
    for descriptor in descriptors {
      posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor)
    }
    if isQuiet {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
      posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
      posix_spawn_file_actions_adddup2(&actions, 1, 2)
    }
    if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    var pid: pid_t = 0
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    guard let program = words.first,
      posix_spawnp(&pid, program, &actions, &attributes, &arguments, environ) == 0
    else { return nil }
    self.pid = pid
  }

  public convenience init?(
    shell script: String, inheriting descriptors: [Int32] = [], input: Int32? = nil,
    isQuiet: Bool = false
  ) {
    self.init(["sh", "-c", script], inheriting: descriptors, input: input, isQuiet: isQuiet)
  }

  /// Waits until it has ended.
  /// - Returns: its wait status.
  @discardableResult
  public func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    isReaped = true
    return status
  }

  /// Leaves the rest to the caller.
  public func abandon() { isReaped = true }

  deinit {
    guard !isReaped else { return }
    kill(-pid, SIGKILL)
    kill(pid, SIGKILL)
    wait()
  }
}

/// Runs a command of the shell's; it is in the namespaces of the calling thread.
@discardableResult
public func run(_ command: String) -> Int32 {
  Child(shell: command)?.wait() ?? -1
}
