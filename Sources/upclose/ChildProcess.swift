import Evidence
import Glibc
import LinuxHost

/// A program that runs beside this one, with its own stdout and stderr inherited.
final class ChildProcess {
  private let pid: pid_t
  private var status: Int32?

  /// - Parameter input: its stdin; nil: that of this program.
  /// - Throws: `ProbeError` when it cannot be started.
  init(_ path: String, _ arguments: [String], input: Int32? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input { posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO) }
    var pid = pid_t()
    var pointers: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    let result = posix_spawn(&pid, path, &actions, nil, pointers, environ)
    guard result == 0 else {
      throw ProbeError(doing: "start \(path)", reason: errorText(result))
    }
    self.pid = pid
  }

  var isRunning: Bool {
    if status != nil { return false }
    var raw: Int32 = 0
    guard waitpid(pid, &raw, WNOHANG) == pid else { return true }
    status = raw
    return false
  }

  /// Waits until something is so.
  /// - Returns: false when the program ended before.
  func wait(until condition: () -> Bool) -> Bool {
    while isRunning {
      if condition() { return true }
      usleep(20_000)
    }
    return false
  }

  func interrupt() {
    if isRunning { kill(pid, SIGINT) }
  }

  /// - Returns: its exit code, or 128 and the signal's number.
  func waitForExit() -> Int32 {
    var raw: Int32 = 0
    if let status {
      raw = status
    } else {
      while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
      status = raw
    }
    return raw & 0x7f == 0 ? raw >> 8 & 0xff : 128 + raw & 0x7f
  }
}
