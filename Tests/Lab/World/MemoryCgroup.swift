import Evidence
import Glibc
import LinuxHost

/// A memory cgroup with a limit and without swap, of version 1 or 2, whichever the host has.
package struct MemoryCgroup: Sendable {
  /// Its directory.
  package var path: String

  /// Where memory cgroups are made.
  struct Hierarchy {
    var path: String
    var isUnified: Bool
  }

  /// Finds the hierarchy that has the memory controller.
  static func hierarchy() throws -> Hierarchy {
    let mounts = String(decoding: try readFile("/proc/mounts"), as: UTF8.self)
    var unified: String?
    for line in mounts.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 3 else { continue }
      if fields[2] == "cgroup", fields[3].split(separator: ",").contains("memory") {
        return Hierarchy(path: String(fields[1]), isUnified: false)
      }
      if fields[2] == "cgroup2" { unified = String(fields[1]) }
    }
    guard let unified else {
      throw ProbeError(
        doing: "find the memory cgroup", reason: "/proc/mounts names neither version 1 nor 2",
        remedy: "mount -t cgroup2 none /sys/fs/cgroup")
    }
    return Hierarchy(path: unified, isUnified: true)
  }

  /// - Parameter limit: bytes.
  package static func make(_ name: String, limit: Int, undo: Undo) throws -> MemoryCgroup {
    let hierarchy = try hierarchy()
    if hierarchy.isUnified {
      try CgroupController(name: "memory", parent: hierarchy.path).enable(undo)
    }
    let group = MemoryCgroup(path: "\(hierarchy.path)/\(name)")
    undo.register("remove \(group.path)") { try group.remove() }
    guard mkdir(group.path, 0o755) == 0 else {
      throw ProbeError(doing: "make \(group.path)", reason: errorText(errno))
    }
    if hierarchy.isUnified {
      try writeCgroup("\(limit)", to: group.path + "/memory.max")
      // Absent where the kernel has no swap accounting; then there is mostly no swap either.
      try writeIfPresent("0", to: group.path + "/memory.swap.max")
    } else {
      try writeCgroup("\(limit)", to: group.path + "/memory.limit_in_bytes")
      try writeIfPresent("\(limit)", to: group.path + "/memory.memsw.limit_in_bytes")
      try writeIfPresent("0", to: group.path + "/memory.swappiness")
    }
    return group
  }

  /// Kills what is in it, and removes it; nothing to do when it is gone.
  func remove() throws {
    guard access(path, F_OK) == 0 else { return }
    try killAll(path) { cgroupWords(path + "/cgroup.procs").compactMap { pid_t($0) } }
    // A process that has just died is counted for a moment longer.
    try wait(until: "\(path) can be removed", limit: 10_000) {
      rmdir(path) == 0 || errno == ENOENT
    }
  }

  private static func writeIfPresent(_ text: String, to path: String) throws {
    if access(path, F_OK) == 0 { try writeCgroup(text, to: path) }
  }
}
