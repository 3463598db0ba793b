package import Glibc
import LinuxHost

/// Fields of `/proc/PID/stat`; nil when there is no such process.
package struct ProcessStatus {
  /// `R`, `S`, `T` (stopped), `Z`, ...
  package var state: Character
  package var parent: pid_t
  /// Clock ticks since boot: with the pid it names a process for good.
  package var startTicks: UInt64

  package init?(_ pid: pid_t) {
    guard let bytes = try? readFile("/proc/\(pid)/stat") else { return nil }
    // The command may itself contain blanks and parentheses: fields count from the last one.
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19, let state = fields[0].first, let parent = pid_t(fields[1]),
      let start = UInt64(fields[19])
    else { return nil }
    self.state = state
    self.parent = parent
    startTicks = start
  }
}

func allProcesses() -> [pid_t] { directoryEntries("/proc").compactMap { pid_t($0) } }

/// Children that have not ended.
package func children(of pid: pid_t) -> [pid_t] {
  allProcesses().filter { child in
    guard let status = ProcessStatus(child) else { return false }
    return status.parent == pid && status.state != "Z"
  }
}

/// Processes whose main thread is in a network namespace, this one never.
/// - Parameter path: as `/run/netns/NAME`.
func processes(inNamespace path: String) -> [pid_t] {
  var status = stat()
  guard stat(path, &status) == 0 else { return [] }
  let link = "net:[\(status.st_ino)]"
  return allProcesses().filter { $0 != getpid() && readLink("/proc/\($0)/ns/net") == link }
}

/// Sends SIGKILL to all that `list` returns until it returns none and all are gone. A dead process
/// shows its namespace no more, so each victim is followed to its end: ours are reaped, a zombie of
/// somebody else's is left to its parent.
func killAll(_ what: String, _ list: () -> [pid_t]) throws {
  var victims: Set<pid_t> = []
  try wait(until: "\(what) is free of processes", limit: 10_000) {
    let found = list()
    for pid in found { kill(pid, SIGKILL) }
    victims.formUnion(found)
    victims = victims.filter { pid in
      waitpid(pid, nil, WNOHANG)
      guard let status = ProcessStatus(pid) else { return false }
      return status.state != "Z" || status.parent == getpid()
    }
    return found.isEmpty && victims.isEmpty
  }
}

/// Asks a child of ours to end with SIGTERM, and makes it after `patience` milliseconds.
package func endChild(_ pid: pid_t, patience: Int64 = 3_000) {
  kill(pid, SIGTERM)
  let end = monotonicMilliseconds() + patience
  while waitpid(pid, nil, WNOHANG) == 0 {
    if monotonicMilliseconds() >= end {
      kill(pid, SIGKILL)
      waitpid(pid, nil, 0)
      return
    }
    usleep(2000)
  }
}
