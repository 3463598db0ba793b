import Glibc

/// A process of the test's own; killed and reaped at the latest when it is let go.
final class Child {
  let pid: pid_t
  private var isReaped = false

  init?(shell script: String) {
    var pid: pid_t = 0
    let words: [String] = ["sh", "-c", script]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    guard posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, environ) == 0 else { return nil }
    self.pid = pid
  }

  /// Waits until it has ended.
  /// - Returns: its wait status.
  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    isReaped = true
    return status
  }

  deinit {
    guard !isReaped else { return }
    kill(pid, SIGKILL)
    _ = wait()
  }
}

/// A memory cgroup of the test's own, v1 or v2, whichever is mounted.
final class MemoryCgroup {
  let path: String
  /// As the kernel names it.
  let name: String

  static var isAvailable: Bool {
    getuid() == 0
      && (access("/sys/fs/cgroup/memory/memory.limit_in_bytes", W_OK) == 0
        || access("/sys/fs/cgroup/cgroup.subtree_control", W_OK) == 0)
  }

  init?(limit: Int) {
    name = "/upclose-test-\(getpid())"
    let isV1 = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0
    path = (isV1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup") + name
    if !isV1 { _ = Self.write("+memory", to: "/sys/fs/cgroup/cgroup.subtree_control") }
    guard mkdir(path, 0o755) == 0 else { return nil }
    if isV1 {
      guard Self.write("\(limit)", to: path + "/memory.limit_in_bytes") else { return nil }
      _ = Self.write("\(limit)", to: path + "/memory.memsw.limit_in_bytes")
    } else {
      guard Self.write("\(limit)", to: path + "/memory.max") else { return nil }
      _ = Self.write("0", to: path + "/memory.swap.max")
    }
  }

  deinit {
    // It is busy until its last process was reaped and its memory given back.
    for _ in 0..<200 {
      if rmdir(path) == 0 || errno == ENOENT { return }
      usleep(10_000)
    }
  }

  private static func write(_ text: String, to path: String) -> Bool {
    let descriptor = open(path, O_WRONLY)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count
  }
}
