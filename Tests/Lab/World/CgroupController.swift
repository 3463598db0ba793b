import Evidence
import Glibc
import LinuxHost

/// A controller of the unified hierarchy, to be had by the children of a cgroup.
struct CgroupController {
  /// As `memory`.
  var name: String
  /// The cgroup whose children are to have it.
  var parent: String

  /// Where a container's own processes wait meanwhile. It must not look like a thing of one run: those
  /// are emptied by killing.
  static let waitingRoom = "upclose-waiting"

  /// Enables it. Mostly it is: by systemd, or because the parent is the host's root. In a container
  /// the parent holds the container's own processes, and a cgroup that has processes may not share
  /// its resources among children (cgroup-v2.rst, "No Internal Process Constraint"); they are moved
  /// aside, and back at the end.
  func enable(_ undo: Undo) throws {
    guard !isEnabled else { return }
    undo.register("disable \(name) in \(parent)") { try putBack() }
    if let refusal = tryEnable() {
      guard refusal == EBUSY else { throw problem(refusal) }
      try moveProcesses()
    }
  }

  private var isEnabled: Bool {
    cgroupWords(parent + "/cgroup.subtree_control").contains { $0 == name }
  }

  /// - Returns: the errno, or nil.
  private func tryEnable() -> Int32? {
    let descriptor = open(parent + "/cgroup.subtree_control", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    let word = "+" + name
    return write(descriptor, word, word.utf8.count) < 0 ? errno : nil
  }

  private func moveProcesses() throws {
    let room = "\(parent)/\(Self.waitingRoom)"
    guard mkdir(room, 0o755) == 0 || errno == EEXIST else { throw problem(errno) }
    // Processes that start meanwhile are moved in the next round.
    for _ in 0..<50 {
      move(from: parent, to: room)
      guard let refusal = tryEnable() else { return }
      guard refusal == EBUSY else { throw problem(refusal) }
    }
    throw problem(EBUSY)
  }

  private func putBack() throws {
    try? writeCgroup("-" + name, to: parent + "/cgroup.subtree_control")
    let room = "\(parent)/\(Self.waitingRoom)"
    guard access(room, F_OK) == 0 else { return }
    try wait(until: "the processes are back in \(parent)", limit: 10_000) {
      move(from: room, to: parent)
      return rmdir(room) == 0 || errno == ENOENT
    }
  }

  /// One that ended meanwhile, or is not ours to move, is left where it is.
  private func move(from source: String, to target: String) {
    for pid in cgroupWords(source + "/cgroup.procs") {
      try? writeCgroup(String(pid), to: target + "/cgroup.procs")
    }
  }

  private func problem(_ code: Int32) -> ProbeError {
    ProbeError(
      doing: "use the \(name) controller below \(parent)", reason: errorText(code),
      remedy: "run where it is delegated (in a container: with --privileged)")
  }
}

/// A control file's words; none when it cannot be read.
func cgroupWords(_ path: String) -> [Substring] {
  guard let bytes = try? readFile(path) else { return [] }
  return String(decoding: bytes, as: UTF8.self).split { $0 == " " || $0 == "\n" }
}

/// Control files exist already; they are never created.
func writeCgroup(_ text: String, to path: String) throws {
  try writeFile(text, to: path, flags: O_WRONLY)
}
