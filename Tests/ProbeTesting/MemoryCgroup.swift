import Glibc
import Synchronization

/// A memory cgroup of the test's own, v1 or v2, whichever is mounted.
public final class MemoryCgroup {
  public let path: String
  /// As the kernel names it.
  public let name: String

  public static var isAvailable: Bool {
    getuid() == 0
      && (access("/sys/fs/cgroup/memory/memory.limit_in_bytes", W_OK) == 0
        || access("/sys/fs/cgroup/cgroup.subtree_control", W_OK) == 0)
  }

  private static let made = Atomic<Int>(0)

  public init?(limit: Int) {
    let number = Self.made.wrappingAdd(1, ordering: .relaxed).newValue
    name = "/upclose-test-\(getpid())-\(number)"
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

  /// Where a process joins it.
  public var processes: String { path + "/cgroup.procs" }

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
