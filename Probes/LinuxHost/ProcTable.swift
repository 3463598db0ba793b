public import Evidence
import Glibc

/// Reads what `/proc` says of processes. A process may end between two reads: then there is nothing.
public struct ProcTable: Sendable {
  /// Where it is mounted.
  public let root: String

  public init(root: String = "/proc") { self.root = root }

  /// All processes (not their threads).
  public func processes() -> [Int32] { directoryEntries(root).compactMap { Int32($0) } }

  /// Who a process is; nil when it is gone.
  public func identity(_ pid: Int32) -> ProcessIdentity? {
    guard let stat = stat(pid) else { return nil }
    let group = controlGroup(pid)
    return ProcessIdentity(
      pid: pid, command: stat.command, parent: stat.parent, startTicks: stat.startTicks,
      executable: readLink("\(root)/\(pid)/exe").map { String(escapingControlsIn: $0.utf8) },
      cgroup: group?.path, descriptorLimit: descriptorLimit(pid), unit: group?.unit,
      container: group?.container)
  }

  /// What `/proc/PID/stat` says (proc(5)).
  public struct Stat: Equatable, Sendable {
    public var command: String
    public var state: UInt8
    public var parent: Int32
    public var startTicks: UInt64
    /// As `wait` would tell it; 0 for a process that lives, or to a reader who may not trace it.
    public var exitStatus: Int32

    public init(
      command: String, state: UInt8, parent: Int32, startTicks: UInt64, exitStatus: Int32
    ) {
      self.command = command
      self.state = state
      self.parent = parent
      self.startTicks = startTicks
      self.exitStatus = exitStatus
    }
  }

  public func stat(_ pid: Int32) -> Stat? {
    guard let bytes = try? readFile("\(root)/\(pid)/stat", limit: 4096) else { return nil }
    return Self.stat(bytes)
  }

  public static func stat(_ bytes: [UInt8]) -> Stat? {
    // The name is the kernel's comm and may hold anything, also parentheses and spaces.
    guard let open = bytes.firstIndex(of: UInt8(ascii: "(")),
      let close = bytes.lastIndex(of: UInt8(ascii: ")")), open < close
    else { return nil }
    let fields = bytes[(close + 1)...].split { $0 == 32 || $0 == 10 }
    // Fields 3 (state), 4 (ppid), 22 (starttime) and 52 (exit_code) of the manual's count.
    guard fields.count >= 20, let state = fields[0].first, let parent = number(fields[1]),
      let start = number(fields[19]).flatMap({ UInt64(exactly: $0) })
    else { return nil }
    let status = fields.count > 49 ? number(fields[49]) ?? 0 : 0
    return Stat(
      command: String(escapingControlsIn: bytes[(open + 1)..<close]), state: state,
      parent: Int32(clamping: parent), startTicks: start, exitStatus: Int32(clamping: status))
  }

  /// The process that a thread belongs to (proc(5), `Tgid`); nil when the thread is gone.
  public func process(ofThread thread: Int32) -> Int32? {
    guard let bytes = try? readFile("\(root)/\(thread)/status", limit: 4096) else { return nil }
    for line in bytes.split(separator: 10) where line.starts(with: "Tgid:".utf8) {
      let digits = line.dropFirst(5).drop { $0 == 9 || $0 == 32 }
      return Self.number(digits).flatMap { Int32(exactly: $0) }
    }
    return nil
  }

  /// The threads of a process, its first one too; empty when it is gone.
  public func threads(of pid: Int32) -> [Int32] {
    directoryEntries("\(root)/\(pid)/task").compactMap { Int32($0) }
  }

  /// The children of a process's main thread; empty where the kernel does not list them
  /// (CONFIG_PROC_CHILDREN).
  public func children(_ pid: Int32) -> [Int32] {
    guard let bytes = try? readFile("\(root)/\(pid)/task/\(pid)/children", limit: 1 << 20) else {
      return []
    }
    return bytes.split { $0 == 32 || $0 == 10 }.compactMap { Self.number($0) }.map {
      Int32(clamping: $0)
    }
  }

  public enum Access: Sendable { case allowed, denied, gone }

  /// Hands over the inode of every socket that a process holds.
  public func forEachSocket(of pid: Int32, _ body: (UInt64) -> Void) -> Access {
    guard let directory = opendir("\(root)/\(pid)/fd") else {
      return errno == EACCES || errno == EPERM ? .denied : .gone
    }
    defer { closedir(directory) }
    let descriptor = dirfd(directory)
    var target = [CChar](repeating: 0, count: 64)
    while let entry = readdir(directory) {
      let count = withUnsafePointer(to: &entry.pointee.d_name) { name in
        name.withMemoryRebound(to: CChar.self, capacity: 256) { name in
          name.pointee == CChar(bitPattern: UInt8(ascii: "."))
            ? 0 : readlinkat(descriptor, name, &target, target.count)
        }
      }
      if count < 0, errno == EACCES || errno == EPERM { return .denied }
      guard count > 0 else { continue }
      target.withUnsafeBytes { bytes in
        if let inode = Self.socketInode(UnsafeRawBufferPointer(rebasing: bytes[..<count])) {
          body(inode)
        }
      }
    }
    return .allowed
  }

  /// The number in `socket:[12345]`.
  public static func socketInode(_ link: UnsafeRawBufferPointer) -> UInt64? {
    let prefix: StaticString = "socket:["
    let size = prefix.utf8CodeUnitCount
    guard let base = link.baseAddress, link.count > size + 1,
      memcmp(base, prefix.utf8Start, size) == 0, link[link.count - 1] == UInt8(ascii: "]")
    else { return nil }
    return number(link[size..<(link.count - 1)]).flatMap { UInt64(exactly: $0) }
  }

  /// How many descriptors a process holds; nil when it is gone or may not be looked at.
  public func descriptorCount(of pid: Int32) -> UInt64? {
    let path = "\(root)/\(pid)/fd"
    // Since Linux 6.2 the directory's size is the number.
    guard let size = sizeOfFile(path) else { return nil }
    if size > 0 { return UInt64(size) }
    guard access(path, R_OK) == 0 else { return nil }
    return UInt64(directoryEntries(path).count)
  }

  /// The control groups that it is in; nil when it is gone.
  public func controlGroup(_ pid: Int32) -> ControlGroup? {
    (try? readFile("\(root)/\(pid)/cgroup", limit: 1 << 16)).map { ControlGroup($0) }
  }

  /// The soft limit of open descriptors; nil when it is gone or has none.
  public func descriptorLimit(_ pid: Int32) -> UInt64? {
    guard let bytes = try? readFile("\(root)/\(pid)/limits", limit: 1 << 16) else { return nil }
    for line in bytes.split(separator: 10) where line.starts(with: "Max open files".utf8) {
      return line.split(separator: 32).dropFirst(3).first.flatMap { Self.number($0) }.flatMap {
        UInt64(exactly: $0)
      }
    }
    return nil
  }

  private static func number(_ digits: some Collection<UInt8>) -> Int64? {
    let isNegative = digits.first == UInt8(ascii: "-")
    var value: Int64 = 0
    let rest = digits.dropFirst(isNegative ? 1 : 0)
    guard !rest.isEmpty, rest.count < 19 else {
      // An unlimited address space and the like are larger than a signed number.
      return rest.isEmpty || !rest.allSatisfy({ (48...57).contains($0) }) ? nil : .max
    }
    for byte in rest {
      guard (48...57).contains(byte) else { return nil }
      value = value * 10 + Int64(byte - 48)
    }
    return isNegative ? -value : value
  }
}

private func sizeOfFile(_ path: String) -> Int? {
  var status = stat()
  return stat(path, &status) == 0 ? Int(status.st_size) : nil
}
