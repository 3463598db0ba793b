import CLinux
import Evidence
import Glibc
import LinuxHost

/// A private tracing instance: its own buffers, events and filters, so that whatever else traces on
/// this host is neither seen nor disturbed.
///
/// All its descriptors are opened while there are privileges. Its directory can only be removed by
/// root, and after we gave that up, or were killed, a small process does it that was forked before
/// (`clinux_spawn_undertaker`): it waits for the end of a pipe, holds nothing else and has no
/// capabilities. Should it be killed too, the next start removes what it finds.
final class TraceInstance: Sendable {
  /// One per CPU; reading gives a page or EAGAIN.
  let pages: [Int32]
  /// One per CPU: what was lost.
  private let statistics: [Int32]
  /// By event, writable after privileges were dropped.
  private let filters: [String: Int32]
  private let undertaker: pid_t
  private let life: Int32

  static let prefix = "upclose-"

  /// Memory of all CPUs' buffers together, and of one at most: 512 KiB hold a second of 7000 events.
  private static let mostMemory = 32 << 10
  private static let mostMemoryOfOne = 512

  /// - Parameter events: to be switched on, each with its first filter (empty: none).
  /// - Throws: `ProbeError` when the kernel refuses.
  init(_ root: TraceRoot, events: [String: String]) throws {
    Self.removeAbandoned(root)
    let name = Self.prefix + Self.ownStamp()
    let path = "instances/\(name)"
    guard mkdirat(root.descriptor, path, 0o700) == 0 else {
      throw ProbeError(
        doing: "make a tracing instance", reason: errorText(errno),
        remedy: "run as root on the host; kernel lockdown forbids tracing")
    }
    var opened: [Int32] = []
    func open(_ file: String, _ flags: Int32) throws -> Int32 {
      let descriptor = openat(root.descriptor, "\(path)/\(file)", flags | O_CLOEXEC)
      guard descriptor >= 0 else {
        throw ProbeError(doing: "open tracefs \(file)", reason: errorText(errno))
      }
      opened.append(descriptor)
      return descriptor
    }
    do {
      let cpus = entries(root, "\(path)/per_cpu").filter { $0.hasPrefix("cpu") }.sorted()
      guard !cpus.isEmpty else {
        throw ProbeError(doing: "read a tracing instance", reason: "it has no buffers")
      }
      try Self.configure(root, path, cpus: cpus.count)
      let pages = try cpus.map { try open("per_cpu/\($0)/trace_pipe_raw", O_RDONLY | O_NONBLOCK) }
      let statistics = try cpus.map { try open("per_cpu/\($0)/stats", O_RDONLY) }
      var filters: [String: Int32] = [:]
      for (event, filter) in events {
        let descriptor = try open("events/\(event)/filter", O_WRONLY)
        filters[event] = descriptor
        let error = filter.isEmpty ? 0 : TraceFile.write(descriptor, filter)
        if error != 0 {
          throw ProbeError(doing: "filter the event \(event)", reason: errorText(error))
        }
        let refused = TraceFile.write(root.descriptor, "\(path)/events/\(event)/enable", "1")
        if refused != 0 {
          throw ProbeError(doing: "switch on the event \(event)", reason: errorText(refused))
        }
      }
      var life: Int32 = -1
      undertaker = clinux_spawn_undertaker(root.descriptor, path, &life)
      guard undertaker > 0 else {
        throw ProbeError(doing: "start the process that cleans up", reason: errorText(errno))
      }
      (self.pages, self.statistics, self.filters, self.life) = (pages, statistics, filters, life)
    } catch {
      for descriptor in opened { close(descriptor) }
      _ = unlinkat(root.descriptor, path, AT_REMOVEDIR)
      throw error
    }
  }

  /// Removes it: the directory is gone when this returns.
  deinit {
    for descriptor in pages + statistics + filters.values { close(descriptor) }
    close(life)
    var status: Int32 = 0
    while waitpid(undertaker, &status, 0) < 0, errno == EINTR {}
  }

  private static func configure(_ root: TraceRoot, _ path: String, cpus: Int) throws {
    let size = max(64, min(mostMemoryOfOne, mostMemory / cpus))
    for (file, value) in [("buffer_size_kb", "\(size)"), ("trace_clock", "mono")] {
      let error = TraceFile.write(root.descriptor, "\(path)/\(file)", value)
      if error != 0 {
        throw ProbeError(doing: "set tracefs \(file)", reason: errorText(error))
      }
    }
    // Wake a reader at the first event; kernels before 5.0 always do.
    _ = TraceFile.write(root.descriptor, "\(path)/buffer_percent", "0")
  }

  /// Replaces an event's filter, also after privileges were dropped.
  /// - Returns: whether the kernel took it.
  func filter(_ event: String, _ filter: String) -> Bool {
    guard let descriptor = filters[event] else { return true }
    return TraceFile.write(descriptor, filter.isEmpty ? "0" : filter) == 0
  }

  /// Events that were overwritten or thrown away so far.
  func lost() -> UInt64 {
    var total: UInt64 = 0
    for descriptor in statistics {
      for line in (TraceFile.text(descriptor) ?? "").split(separator: "\n") {
        guard let colon = line.firstIndex(of: ":"),
          ["overrun", "commit overrun", "dropped events"].contains(line[..<colon])
        else { continue }
        total += UInt64(line[line.index(after: colon)...].filter { $0 != " " }) ?? 0
      }
    }
    return total
  }

  // MARK: What others left

  /// `PID-START`, which no other process ever has until the host is booted anew.
  private static func ownStamp() -> String {
    let pid = getpid()
    let start = ProcTable().stat(pid)?.startTicks ?? 0
    // A process may have several, one after the other or, in tests, at once.
    return "\(pid)-\(start)-\(UInt32.random(in: 0...UInt32.max))"
  }

  /// Removes instances whose process is gone (it and its undertaker were killed at once).
  /// - Returns: how many.
  @discardableResult
  static func removeAbandoned(_ root: TraceRoot, proc: ProcTable = ProcTable()) -> Int {
    var removed = 0
    for name in entries(root, "instances") where name.hasPrefix(prefix) {
      let parts = name.dropFirst(prefix.count).split(separator: "-")
      guard parts.count == 3, let pid = Int32(parts[0]), let start = UInt64(parts[1]) else {
        continue
      }
      let isAlive = proc.stat(pid).map { $0.startTicks == start && $0.state != UInt8(ascii: "Z") }
      if isAlive ?? false { continue }
      if unlinkat(root.descriptor, "instances/\(name)", AT_REMOVEDIR) == 0 { removed += 1 }
    }
    return removed
  }
}

/// The names in a directory below the tracing root.
func entries(_ root: TraceRoot, _ path: String) -> [String] {
  let descriptor = openat(root.descriptor, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { return [] }
  guard let directory = fdopendir(descriptor) else {
    close(descriptor)
    return []
  }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}
