import CLinux
import Evidence
import Glibc
import LinuxHost

/// What this process may do, and how it gives up what it no longer needs.
enum Privileges {
  /// Something that upclose needs of the kernel, and what is lost without it.
  struct Need {
    var capability: String
    var bit: UInt32
    var loses: String
  }

  static let needs = [
    Need(capability: "CAP_NET_RAW", bit: 13, loses: "packets: who closed, and how"),
    Need(
      capability: "CAP_SYSLOG", bit: 34, loses: "the kernel's log: OOM kills and crashes"),
    Need(
      capability: "CAP_SYS_PTRACE", bit: 19,
      loses: "other users' processes: which one owned a connection"),
    Need(
      capability: "CAP_DAC_READ_SEARCH", bit: 2,
      loses: "files of other users: nginx's logs and configuration"),
    Need(
      capability: "CAP_SYS_ADMIN", bit: 21,
      loses: "other network namespaces: nginx or backends in containers"),
  ]

  /// The needs that are not met.
  static func missing() -> [Need] {
    let effective = effectiveCapabilities()
    return needs.filter { effective & 1 << UInt64($0.bit) == 0 }
  }

  private static func effectiveCapabilities() -> UInt64 {
    guard let status = try? readFile("/proc/self/status") else { return 0 }
    for line in String(decoding: status, as: UTF8.self).split(separator: "\n") {
      if line.hasPrefix("CapEff:") {
        return UInt64(line.dropFirst(7).filter { !$0.isWhitespace }, radix: 16) ?? 0
      }
    }
    return 0
  }

  /// Becomes `nobody`, and keeps only what is needed to reopen rotated logs, to see descriptors of
  /// other users' processes and to renew the capture. Before any thread starts, since capabilities
  /// belong to threads and are inherited.
  /// - Returns: what could not be given up, or nil.
  static func drop() -> String? {
    guard geteuid() == 0 else { return nil }
    let kept: [UInt32] = [2, 13, 19]
    let nobody: UInt32 = 65534
    guard clinux_keep_caps(1) == 0, setgroups(0, nil) == 0,
      clinux_setresgid(nobody, nobody, nobody) == 0, clinux_setresuid(nobody, nobody, nobody) == 0
    else { return "still root: \(errorText(errno))" }
    var header = __user_cap_header_struct(version: UInt32(_LINUX_CAPABILITY_VERSION_3), pid: 0)
    let bits = kept.reduce(UInt32(0)) { $0 | 1 << $1 }
    let data = [
      __user_cap_data_struct(effective: bits, permitted: bits, inheritable: 0),
      __user_cap_data_struct(effective: 0, permitted: 0, inheritable: 0),
    ]
    guard clinux_capset_self(&header, data) == 0, clinux_set_no_new_privs() == 0 else {
      return "capabilities were not reduced: \(errorText(errno))"
    }
    return nil
  }
}
