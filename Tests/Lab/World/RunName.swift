import Evidence
import Glibc
import LinuxHost
import Synchronization

/// The name that everything of one run carries: `NAME-PID-START-N`, so that what a crashed run left
/// can be told from what a living one uses (a pid alone is reused; with its start time it is not).
struct RunName: Hashable, Sendable {
  var prefix: String
  var pid: pid_t
  var startTicks: UInt64
  /// Counts the worlds of one process.
  var number: Int

  private static let counter = Atomic<Int>(0)

  static func next(_ prefix: String) -> RunName {
    RunName(
      prefix: prefix, pid: getpid(), startTicks: ProcessStatus(getpid())?.startTicks ?? 0,
      number: counter.wrappingAdd(1, ordering: .relaxed).newValue)
  }

  init(prefix: String, pid: pid_t, startTicks: UInt64, number: Int) {
    self.prefix = prefix
    self.pid = pid
    self.startTicks = startTicks
    self.number = number
  }

  var description: String { "\(prefix)-\(pid)-\(startTicks)-\(number)" }

  /// Reads the name of a thing that carries this prefix, with or without something behind it.
  init?(_ text: String, prefix: String) {
    guard text.hasPrefix(prefix + "-") else { return nil }
    let parts = text.dropFirst(prefix.utf8.count + 1).split(separator: "-")
    guard parts.count >= 3, let pid = pid_t(parts[0]), let start = UInt64(parts[1]),
      let number = Int(parts[2])
    else { return nil }
    self.init(prefix: prefix, pid: pid, startTicks: start, number: number)
  }

  /// Whether the process that made it still runs.
  var isAlive: Bool { ProcessStatus(pid)?.startTicks == startTicks }
}

/// What an earlier run of the same prefix left behind, by its names on the host.
struct Leftovers: Equatable {
  var namespaces: [String] = []
  var cgroups: [String] = []
  var directories: [String] = []

  static let namespaceDirectory = "/run/netns"

  /// - Parameter parent: where the lab makes its directories.
  /// - Parameter isWanted: of the runs found, whose things are listed.
  init(prefix: String, parent: String, _ isWanted: (RunName) -> Bool) {
    func find(_ directory: String) -> [String] {
      directoryEntries(directory).filter { RunName($0, prefix: prefix).map(isWanted) ?? false }
        .sorted()
    }
    namespaces = find(Self.namespaceDirectory)
    directories = find(parent).map { "\(parent)/\($0)" }
    if let hierarchy = try? MemoryCgroup.hierarchy() {
      cgroups = find(hierarchy.path).map { "\(hierarchy.path)/\($0)" }
    }
  }

  var isEmpty: Bool { namespaces.isEmpty && cgroups.isEmpty && directories.isEmpty }

  /// Takes away what runs that ended without cleaning up have left.
  static func removeDead(prefix: String, parent: String, ip: String) throws {
    let dead = Leftovers(prefix: prefix, parent: parent) { !$0.isAlive }
    for name in dead.namespaces {
      try removeNamespace(name, ip: ip, output: "\(parent)/\(name).out")
    }
    for path in dead.cgroups { try MemoryCgroup(path: path).remove() }
    for path in dead.directories { try removeTree(path) }
  }
}

/// Kills what runs in a namespace and removes it; nothing to do when it is gone.
func removeNamespace(_ name: String, ip: String, output: String) throws {
  let path = "\(Leftovers.namespaceDirectory)/\(name)"
  guard access(path, F_OK) == 0 else { return }
  try killAll(path) { processes(inNamespace: path) }
  try runProgram(ip, ["netns", "delete", name], output: output)
}
