import Evidence
import Glibc
import LinuxHost

/// The processes of a host, as /proc shows them.
struct ProcessTable {
  /// `/proc`, or a tree like it.
  let root: String

  init(root: String = "/proc") { self.root = root }

  var pids: [Int32] { directoryEntries(root).compactMap { Int32($0) }.sorted() }

  func path(_ pid: Int32, _ name: String) -> String { "\(root)/\(pid)/\(name)" }

  /// The command line as one text, its words joined by spaces; nil for a kernel thread, or when the
  /// process is gone. nginx writes its title there.
  func title(_ pid: Int32) -> String? {
    guard let bytes = try? readFile(path(pid, "cmdline"), limit: 64 << 10) else { return nil }
    let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    var text = words.joined(separator: " ")[...]
    while text.last == " " { text.removeLast() }
    return text.isEmpty ? nil : String(text)
  }

  /// Where the program is, and whether that file was removed or replaced since.
  func executable(_ pid: Int32) -> (path: String, isDeleted: Bool)? {
    guard let link = readLink(path(pid, "exe")) else { return nil }
    let mark = " (deleted)"
    return link.hasSuffix(mark) ? (String(link.dropLast(mark.count)), true) : (link, false)
  }

  /// The parent's pid and the start, in clock ticks since boot.
  func status(_ pid: Int32) -> (parent: Int32, startTicks: UInt64)? {
    guard let bytes = try? readFile(path(pid, "stat"), limit: 8 << 10),
      let behindName = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    // Fields 3 on; the name before them may hold spaces and brackets.
    let fields = bytes[(behindName + 1)...].split(separator: 0x20)
    guard fields.count >= 20, let parent = Int32(String(decoding: fields[1], as: UTF8.self)),
      let start = UInt64(String(decoding: fields[19], as: UTF8.self))
    else { return nil }
    return (parent, start)
  }

  /// The real user's number; not the owner of the directory, which is root's for a process that
  /// must not be dumped.
  func user(_ pid: Int32) -> UInt32? {
    guard let bytes = try? readFile(path(pid, "status"), limit: 64 << 10) else { return nil }
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      guard let value = line.value(after: "Uid:") else { continue }
      return value.split { $0 == "\t" || $0 == " " }.first.flatMap { UInt32($0) }
    }
    return nil
  }

  /// The inode of a namespace (`net`, `mnt`); nil when it cannot be told.
  func namespace(_ kind: String, of pid: String) -> UInt64? {
    guard let link = readLink("\(root)/\(pid)/ns/\(kind)"), let open = link.firstIndex(of: "[")
    else { return nil }
    return UInt64(link[link.index(after: open)...].prefix { $0 != "]" })
  }

  func children(_ pid: Int32) -> [Int32] {
    if let bytes = try? readFile(path(pid, "task/\(pid)/children"), limit: 1 << 20) {
      return bytes.split(separator: 0x20).compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    }
    // Kernels without CONFIG_PROC_CHILDREN.
    return pids.filter { status($0)?.parent == pid }
  }

  /// When a process started.
  func startTime(_ pid: Int32) -> Timestamp? {
    guard let ticks = status(pid)?.startTicks else { return nil }
    var boot = timespec()
    clock_gettime(CLOCK_BOOTTIME, &boot)
    let sinceBoot = Int64(boot.tv_sec) * 1_000_000_000 + Int64(boot.tv_nsec)
    let perSecond = max(1, Int64(sysconf(Int32(_SC_CLK_TCK))))
    let start = Int64(clamping: ticks).multipliedReportingOverflow(by: 1_000_000_000 / perSecond)
    return currentTime() - TimeSpan(nanoseconds: sinceBoot)
      + TimeSpan(nanoseconds: start.partialValue)
  }
}
