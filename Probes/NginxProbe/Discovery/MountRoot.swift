import Glibc
import LinuxHost

/// The file system as a process sees it, from outside of its mount namespace.
struct MountRoot: Hashable, Sendable {
  /// Put before every path, as `/proc/4711/root`; empty for this host's own.
  let path: String
  /// Kept open: once privileges were dropped, `/proc/4711/root` can be entered no more.
  private let descriptor: Descriptor?

  /// This host's own.
  static let host = MountRoot("")

  init(_ path: String) {
    self.path = path
    let opened = path.isEmpty ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    descriptor = opened < 0 ? nil : Descriptor(number: opened)
  }

  static func == (a: Self, b: Self) -> Bool { a.path == b.path }
  func hash(into hasher: inout Hasher) { hasher.combine(path) }

  /// A path of that process as this one can open it.
  func outside(_ inner: String) -> String {
    if path.isEmpty { return inner }
    return entry + resolve(inner)
  }

  /// Where this process enters it.
  var entry: String { descriptor.map { "/proc/self/fd/\($0.number)" } ?? path }

  /// A path without symbolic links. The kernel would follow an absolute one to our own root, since
  /// going through `/proc/PID/root` does not change it.
  ///
  /// `/dev/stderr` and its like stay, for they mean something else to every process.
  func resolve(_ inner: String) -> String {
    var rest = inner.split(separator: "/").map(String.init)
    var done: [String] = []
    var links = 0
    while !rest.isEmpty {
      let name = rest.removeFirst()
      if name == "." { continue }
      if name == ".." {
        _ = done.popLast()
        continue
      }
      let candidate = "/" + (done + [name]).joined(separator: "/")
      let isStandard = ["/dev/stderr", "/dev/stdout", "/proc/self"].contains(candidate)
      guard !isStandard, links < 40, let target = readLink(entry + candidate) else {
        done.append(name)
        continue
      }
      links += 1
      if target.hasPrefix("/") { done = [] }
      rest = target.split(separator: "/").map(String.init) + rest
    }
    return "/" + done.joined(separator: "/")
  }

  private final class Descriptor: Sendable {
    let number: Int32
    init(number: Int32) { self.number = number }
    deinit { close(number) }
  }
}
