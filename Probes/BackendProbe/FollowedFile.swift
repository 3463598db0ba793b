import CLinux
import Evidence
import Glibc
import LinuxHost

/// A backend's log that is followed by its path, through rotation by rename and create, by
/// `copytruncate`, and through deletion.
///
/// A file that was renamed is read on for a while: its writer keeps it open until it is told.
final class FollowedFile {
  /// A file that the path led to.
  private final class Opened {
    let descriptor: Int32
    let device: UInt64
    let inode: UInt64
    /// Of inotify; -1 when there is none.
    let watch: Int32
    var cutter = LineCutter()
    /// The bytes before the next, by which a file that was truncated and grew again is told.
    var tail: [UInt8] = []
    var retiredAt: Timestamp?

    init(descriptor: Int32, status: stat, watch: Int32) {
      self.descriptor = descriptor
      device = UInt64(status.st_dev)
      inode = UInt64(status.st_ino)
      self.watch = watch
    }

    deinit { close(descriptor) }

    /// `copytruncate`: it is shorter than what was read, or not the same any more before that.
    var wasTruncated: Bool {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { return false }
      let offset = cutter.nextOffset
      if UInt64(clamping: status.st_size) < offset { return true }
      guard !tail.isEmpty else { return false }
      var bytes = [UInt8](repeating: 0, count: tail.count)
      let start = off_t(clamping: offset) - off_t(tail.count)
      return pread(descriptor, &bytes, bytes.count, start) == bytes.count && bytes != tail
    }

    func remember(_ read: UnsafeRawBufferPointer) {
      tail = Array((tail + read.suffix(32)).suffix(32))
    }

    func startAgain() {
      cutter.start(at: 0)
      tail = []
    }
  }

  let source: BackendLogSource
  let reader: LineReader
  private let inotify: Int32
  private var current: Opened?
  private var retired: [Opened] = []
  /// When it was last read to its end: what is read now was written later.
  private(set) var lastEmpty: Timestamp?
  /// Why it cannot be read now; nil when it can.
  private(set) var problem: ProbeError?
  private(set) var rotations: UInt64 = 0
  /// The user to whom it belonged when it was found.
  private var fileOwner: uid_t?
  var context = ContextLines()

  private static let retirement = TimeSpan.seconds(60)
  private static let mostRetired = 4

  init(_ source: BackendLogSource, inotify: Int32, fromEnd: Bool, stamps: LineStamp.Context) {
    self.source = source
    self.inotify = inotify
    reader = LineReader(
      path: source.shownPath, upstream: source.upstream, owner: source.owner, stamps: stamps)
    open(fromEnd: fromEnd)
    lastEmpty = currentTime()
  }

  deinit { for file in retired + [current].compactMap({ $0 }) { unwatch(file) } }

  var watches: [Int32] { ([current].compactMap { $0 } + retired).map(\.watch) }

  /// Reads what is new, the oldest file first.
  /// - Parameter body: gets each line, and when it was read.
  func service(_ body: (LineReader.Line, Timestamp) -> Void) {
    for file in retired { read(file, body) }
    if let current { read(current, body) }
    if leadsElsewhere() {
      if let old = current {
        read(old, body)
        old.retiredAt = currentTime()
        retired.append(old)
        current = nil
        rotations += 1
      }
      open(fromEnd: false)
      if let current { read(current, body) }
    }
    let now = currentTime()
    let expired = retired.filter { file in
      file.retiredAt.map { now - $0 > Self.retirement } ?? true
    }
    let surplus = retired.dropLast(Self.mostRetired)
    for file in expired + surplus { unwatch(file) }
    retired.removeAll { file in
      expired.contains { $0 === file } || surplus.contains { $0 === file }
    }
    lastEmpty = now
  }

  /// Takes a last line without an end.
  func finish(_ body: (LineReader.Line, Timestamp) -> Void) {
    service(body)
    let reader = reader
    current?.cutter.settle { bytes, offset in
      if let line = reader.read(bytes, at: offset) { body(line, currentTime()) }
    }
  }

  private func read(_ file: Opened, _ body: (LineReader.Line, Timestamp) -> Void) {
    if file.wasTruncated {
      file.startAgain()
      rotations += 1
    }
    let reader = reader
    withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 8) { buffer in
      while true {
        let count = pread(
          file.descriptor, buffer.baseAddress, buffer.count, off_t(clamping: file.cutter.nextOffset)
        )
        if count < 0, errno == EINTR { continue }
        if count < 0 {
          problem = ProbeError(doing: "read \(source.shownPath)", reason: errorText(errno))
        }
        guard count > 0 else { return }
        let now = currentTime()
        let news = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        file.remember(news)
        file.cutter.take(news) { bytes, offset in
          if let line = reader.read(bytes, at: offset) { body(line, now) }
        }
      }
    }
  }

  private func leadsElsewhere() -> Bool {
    var status = stat()
    guard stat(source.path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      // Deleted, or between the two steps of a rotation: the open file is read on.
      return false
    }
    guard let current else { return true }
    return current.device != UInt64(status.st_dev) || current.inode != UInt64(status.st_ino)
  }

  private func open(fromEnd: Bool) {
    let doing = "follow \(source.shownPath)"
    var status = stat()
    // Asked before it is opened: opening a pipe means something to whoever writes to it.
    guard stat(source.path, &status) == 0 else {
      problem = ProbeError(doing: doing, reason: errorText(errno))
      return
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      problem = ProbeError(
        doing: doing, reason: "it is not a file",
        remedy: "let the backend log to a file, or name its unit: --backend-log journal:UNIT")
      return
    }
    // A log that was found is where its writer, who may be anybody, says that it is: it must not lead
    // to a file of somebody else, which this process may read and the writer may not.
    let isFound = source.owner != nil && !source.path.hasPrefix("/proc/")
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (isFound ? O_NOFOLLOW : 0)
    let descriptor = Glibc.open(source.path, flags)
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      problem = ProbeError(
        doing: doing, reason: errorText(errno), remedy: errno == EACCES ? "run as root" : nil)
      if descriptor >= 0 { close(descriptor) }
      return
    }
    if isFound, let fileOwner, fileOwner != status.st_uid {
      close(descriptor)
      problem = ProbeError(doing: doing, reason: "it now belongs to another user")
      return
    }
    fileOwner = status.st_uid
    let watch = inotify_add_watch(
      inotify, "/proc/self/fd/\(descriptor)", UInt32(IN_MODIFY | IN_MOVE_SELF | IN_ATTRIB))
    let file = Opened(descriptor: descriptor, status: status, watch: watch)
    file.cutter.start(at: fromEnd ? UInt64(clamping: status.st_size) : 0)
    current = file
    problem = nil
  }

  private func unwatch(_ file: Opened) {
    if file.watch >= 0 { inotify_rm_watch(inotify, file.watch) }
  }
}

/// The last lines of a log that say nothing by themselves: when something fails within a second of
/// them, they are told.
struct ContextLines {
  struct Kept {
    var line: LineReader.Line
    var arrival: Timestamp
    var since: Timestamp?
  }
  private var lines: [Kept] = []
  private static let most = 20
  private static let reach = TimeSpan.seconds(1)
  /// Lines are told until then.
  private var openUntil = Timestamp(nanoseconds: .min)
  private var told = 0

  /// Something failed: what was written around it is asked for.
  /// - Returns: what was written shortly before.
  mutating func failed(at time: Timestamp) -> [Kept] {
    let near = lines.filter { time - $0.arrival <= Self.reach }
    lines = []
    if time > openUntil { told = near.count }
    openUntil = time + Self.reach
    return near
  }

  /// - Returns: whether the line is to be told now.
  mutating func add(_ kept: Kept) -> Bool {
    if kept.arrival <= openUntil, told < Self.most {
      told += 1
      return true
    }
    lines.append(kept)
    if lines.count > Self.most { lines.removeFirst() }
    return false
  }
}
