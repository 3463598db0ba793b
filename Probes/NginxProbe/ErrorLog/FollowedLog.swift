import CLinux
import Evidence
import Glibc
import LinuxHost

/// A log that is followed by its path, through every kind of rotation.
///
/// The old file stays open for a while beside the new one: between the rename and the `USR1` (and
/// until a busy worker sees it) nginx goes on writing to the old one. The old is always read to its
/// end before the new.
final class FollowedLog {
  /// How long an old file is read after its last line, and how many of them are kept.
  static let retirement = TimeSpan.seconds(60)
  static let mostRetired = 8

  let path: String
  private let directoryPath: String
  private let name: String
  private let inotify: Int32
  /// Kept so that the log can be opened again after privileges were dropped, also in another mount
  /// namespace.
  private var directory: Int32 = -1
  private(set) var directoryWatch: Int32 = -1
  private var current: OpenLog?
  private var retired: [OpenLog] = []
  private(set) var rotations: UInt64 = 0
  private var forgottenStrays: UInt64 = 0
  /// What is wrong with it now; nil when it is read.
  private(set) var problem: ProbeError?
  /// When the path last led nowhere, or to a file that was moved away.
  private var missingSince: Timestamp?

  /// Reads its lines when it is an access log; nil: an error log.
  var access: AccessLogParser?

  /// - Parameters:
  ///   - fromEnd: whether what the file holds already is left out.
  ///   - access: reads its lines, for an access log.
  init(_ path: String, inotify: Int32, fromEnd: Bool, access: AccessLogParser? = nil) {
    self.path = path
    self.access = access
    self.inotify = inotify
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    directoryPath = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
    openDirectory()
    openCurrent(fromEnd: fromEnd)
  }

  deinit {
    if directoryWatch >= 0 { inotify_rm_watch(inotify, directoryWatch) }
    if directory >= 0 { close(directory) }
  }

  /// The inotify watches by which it is told of news.
  var watches: [Int32] {
    ([directoryWatch, current?.watch ?? -1] + retired.map(\.watch)).filter { $0 >= 0 }
  }

  /// Whether a new file is expected any moment.
  func isWaiting(at now: Timestamp) -> Bool {
    missingSince.map { now - $0 < .seconds(10) } ?? false
  }

  var notParsed: UInt64 {
    forgottenStrays + (current?.strayLines ?? 0) + retired.reduce(0) { $0 + $1.strayLines }
  }

  /// How long the file is that is written now.
  var currentSize: UInt64? { current?.size }

  /// Reads what is new, in the order in which it was written.
  /// - Parameters:
  ///   - end: of the file as it was a moment ago; what was written since is left for the next time.
  ///   - body: gets each entry, its offset, when it was read, and when the file it is from
  ///   was last read to its end (nil: never, so it may be old).
  func service(
    upTo end: UInt64? = nil, _ body: (Span<UInt8>, UInt64, Timestamp, Timestamp?) -> Void
  ) {
    // A file may be replaced again while its predecessor is being read.
    for _ in 0..<Self.mostRetired {
      // A worker goes from the old file to the new one: what stands in the new by now comes after all
      // that the same worker wrote to the old, so the old is read between the look and the reading.
      let seen = retired.isEmpty ? end : current?.size
      for log in retired { read(log, body) }
      if let current { read(current, upTo: seen, body) }
      guard leadsElsewhere() else { break }
      let before = current?.identity
      if let old = current {
        retired.append(old)
        rotations += 1
      }
      current = nil
      openCurrent(fromEnd: false)
      if current == nil || current?.identity == before {
        for log in retired { read(log, body) }
        break
      }
    }
    forgetRetired()
  }

  private func read(
    _ log: OpenLog, upTo end: UInt64? = nil,
    _ body: (Span<UInt8>, UInt64, Timestamp, Timestamp?) -> Void
  ) {
    let lastEmpty = log.lastEmpty
    do {
      if try log.readToEnd(upTo: end, { body($0, $1, $2, lastEmpty) }) { rotations += 1 }
      if log === current { problem = nil }
    } catch {
      problem = ProbeError(
        doing: "follow \(path)", reason: (error as? ProbeError)?.description ?? "\(error)")
    }
  }

  private func forgetRetired() {
    let now = currentTime()
    let kept = retired.suffix(Self.mostRetired).filter { log in
      now - (log.lastRead ?? log.lastEmpty ?? now) < Self.retirement
    }
    for log in retired where !kept.contains(where: { $0 === log }) {
      forgottenStrays += log.strayLines
    }
    retired = Array(kept)
  }

  /// Whether the path now leads to another file than the one that is open.
  private func leadsElsewhere() -> Bool {
    if directory < 0 { openDirectory() }
    var status = stat()
    guard directory >= 0, fstatat(directory, name, &status, 0) == 0 else {
      if missingSince == nil { missingSince = currentTime() }
      // The directory itself may have been replaced.
      openDirectory()
      return false
    }
    return current?.identity != FileIdentity(status)
  }

  private func openDirectory() {
    let opened = open(directoryPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard opened >= 0 else { return }
    if directory >= 0 {
      var old = stat()
      var new = stat()
      if fstat(directory, &old) == 0, fstat(opened, &new) == 0,
        FileIdentity(old) == FileIdentity(new)
      {
        close(opened)
        return
      }
      close(directory)
    }
    directory = opened
    let watch = inotify_add_watch(
      inotify, "/proc/self/fd/\(opened)",
      UInt32(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE))
    if watch >= 0 { directoryWatch = watch }
  }

  private func openCurrent(fromEnd: Bool) {
    guard directory >= 0 else {
      problem = ProbeError(doing: "open \(path)", reason: errorText(ENOENT))
      return
    }
    var status = stat()
    // Asked before it is opened: opening a pipe means something to whoever writes to it.
    if fstatat(directory, name, &status, 0) == 0, status.st_mode & S_IFMT != S_IFREG {
      problem = notAFile
      return
    }
    // Not blocking, should it have become a pipe just now.
    let opened = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard opened >= 0 else {
      problem = ProbeError(
        doing: "open \(path)", reason: errorText(errno),
        remedy: errno == EACCES ? "run as root" : nil)
      if missingSince == nil { missingSince = currentTime() }
      return
    }
    guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(opened)
      problem = notAFile
      return
    }
    current = OpenLog(
      descriptor: opened, identity: FileIdentity(status), inotify: inotify, fromEnd: fromEnd,
      isPlain: access != nil)
    problem = nil
    missingSince = nil
  }

  private var notAFile: ProbeError {
    ProbeError(
      doing: "follow \(path)", reason: "it is not a file",
      remedy: "add a second log to the configuration: `error_log /var/log/nginx/upclose.log info;`")
  }
}
