import Evidence
import Glibc
import LinuxHost

/// Finds the logs that a process holds open: its output and its errors, and every file that it only
/// appends to and that is called a log.
struct LogFinder {
  let table: ProcTable

  struct Found {
    var logs: [BackendLogSource] = []
    /// What of its output cannot be read.
    var blindSpot: BlindSpot?
  }

  private static let mostDescriptors = 4096

  func logs(of process: ProcessIdentity) -> Found {
    let directory = "\(table.root)/\(process.pid)"
    var found = Found()
    var paths: Set<String> = []
    var unseen: String?
    for name in directoryEntries("\(directory)/fd").prefix(Self.mostDescriptors) {
      guard let number = Int32(name), let target = readLink("\(directory)/fd/\(name)") else {
        continue
      }
      let isOutput = number == 1 || number == 2
      if target.hasPrefix("/"), !target.hasPrefix("/dev/") {
        guard isOutput || Self.isLog(target), isWritten("\(directory)/fdinfo/\(name)"),
          isFile("\(directory)/fd/\(name)")
        else { continue }
        let path = reachable(target, directory, name)
        if paths.insert(path).inserted {
          found.logs.append(BackendLogSource(path: path, owner: process))
        }
      } else if isOutput, target.hasPrefix("pipe:") || target.hasPrefix("socket:") {
        unseen = target.hasPrefix("pipe:") ? "a pipe" : "a socket (the journal's, mostly)"
      }
    }
    if found.logs.isEmpty, let container = containerLog(process) {
      found.logs.append(BackendLogSource(path: container, owner: process))
    }
    if found.logs.isEmpty, let unseen {
      found.blindSpot = BlindSpot(
        id: "backend-log",
        what: "the output of \(process.command) goes to \(unseen), not to a file",
        cost: "what it says of its own end is not read",
        remedy: "name its log: --backend-log FILE, or --backend-log journal:UNIT")
    }
    return found
  }

  /// `…/gunicorn.log`, `…/error_log`, `/var/log/…`; not a log of transactions.
  static func isLog(_ path: String) -> Bool {
    let path = path.hasSuffix(" (deleted)") ? path.dropLast(10) : path[...]
    let name = path.split(separator: "/").last.map { $0.lowercased() } ?? ""
    return name.hasSuffix(".log") || name.hasSuffix("_log") || name.hasSuffix(".err")
      || name.hasSuffix(".out") || path.hasPrefix("/var/log/")
  }

  /// Whether it is open for writing (proc(5), fdinfo: `flags:` in octal).
  private func isWritten(_ path: String) -> Bool {
    guard let bytes = try? readFile(path, limit: 4096) else { return false }
    for line in bytes.split(separator: 10) where line.starts(with: "flags:".utf8) {
      let digits = String(decoding: line.dropFirst(6), as: UTF8.self).filter(\.isNumber)
      return Int32(digits, radix: 8).map { $0 & O_ACCMODE != O_RDONLY } ?? false
    }
    return false
  }

  private func isFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  /// A path by which the file can be opened from here and looked at again after a rotation: its own
  /// where it leads to the same file, that of its mount namespace, or the descriptor itself.
  private func reachable(_ target: String, _ directory: String, _ name: String) -> String {
    let descriptor = "\(directory)/fd/\(name)"
    for path in [target, "\(directory)/root\(target)"] where isSame(path, descriptor) {
      return path
    }
    return descriptor
  }

  /// Behind the kubelet's links.
  private func resolved(_ path: String) -> String {
    var path = path
    for _ in 0..<4 {
      guard let target = readLink(path), target.hasPrefix("/") else { break }
      path = target
    }
    return path
  }

  private func isSame(_ a: String, _ b: String) -> Bool {
    var first = stat()
    var second = stat()
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev
      && first.st_ino == second.st_ino
  }

  /// Where docker keeps what a container writes to its output; the kubelet has links by the same id.
  private func containerLog(_ process: ProcessIdentity) -> String? {
    guard let id = process.container else { return nil }
    let docker = "/var/lib/docker/containers/\(id)/\(id)-json.log"
    if isFile(docker) { return docker }
    return directoryEntries("/var/log/containers").first { $0.contains(id) }
      .map { resolved("/var/log/containers/\($0)") }
  }
}
