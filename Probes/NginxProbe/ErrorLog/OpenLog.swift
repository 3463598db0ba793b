import CLinux
import Evidence
import Glibc
import LinuxHost

/// One file that a followed log's path leads to, or led to before it was rotated.
final class OpenLog {
  let descriptor: Int32
  let identity: FileIdentity
  /// Of inotify; -1 when there is none (the file system cannot, or too many watches).
  let watch: Int32
  private let inotify: Int32
  private var splitter: EntrySplitter
  private var chunk = [UInt8](repeating: 0, count: 64 << 10)
  /// The bytes before the next, by which a file that was truncated and grew again is told.
  private var tail: [UInt8] = []
  /// When it was last read to its end: what is read now was written later.
  private(set) var lastEmpty: Timestamp?
  /// When something was last read.
  private(set) var lastRead: Timestamp?

  /// - Parameter fromEnd: whether what is in it already is left out.
  init(
    descriptor: Int32, identity: FileIdentity, inotify: Int32, fromEnd: Bool, isPlain: Bool = false
  ) {
    self.descriptor = descriptor
    self.identity = identity
    self.inotify = inotify
    // By descriptor, since the name may already mean another file.
    watch = inotify_add_watch(
      inotify, "/proc/self/fd/\(descriptor)",
      UInt32(IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB))
    // From the end means from the start of the line that is being written, which is none: nginx
    // writes a line at once.
    let end = fromEnd ? lseek(descriptor, 0, SEEK_END) : 0
    splitter = EntrySplitter(offset: UInt64(clamping: end), isPlain: isPlain)
    if fromEnd { lastEmpty = currentTime() }
  }

  deinit {
    if watch >= 0 { inotify_rm_watch(inotify, watch) }
    close(descriptor)
  }

  var strayLines: UInt64 { splitter.strayLines + splitter.overlong }

  /// Where the next byte will be read.
  var offset: UInt64 { splitter.nextOffset }

  /// How long the file is now; nil when that cannot be told.
  var size: UInt64? {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? UInt64(clamping: status.st_size) : nil
  }

  /// Reads to the end of the file.
  /// - Parameters:
  ///   - end: its end as it was a moment ago: what was written since is left for the next time.
  ///   - body: gets each entry, its offset and when it was read.
  /// - Returns: whether the file was truncated.
  func readToEnd(
    upTo end: UInt64? = nil,
    _ body: (Span<UInt8>, UInt64, Timestamp) -> Void
  ) throws -> Bool {
    let wasTruncated = try startAgainIfTruncated()
    while true {
      let offset = splitter.nextOffset
      let wanted = end.map { $0 > offset ? Int(min($0 - offset, UInt64(chunk.count))) : 0 }
      let count = pread(descriptor, &chunk, wanted ?? chunk.count, off_t(clamping: offset))
      if count < 0 {
        if errno == EINTR { continue }
        throw ProbeError(doing: "read byte \(offset)", reason: errorText(errno))
      }
      let now = currentTime()
      if count == 0 {
        // An entry is written at once: at the end of the file the last one is whole.
        splitter.settle { body($0, $1, now) }
        lastEmpty = now
        return wasTruncated
      }
      lastRead = now
      remember(count)
      chunk.withUnsafeBytes { bytes in
        splitter.take(UnsafeRawBufferPointer(rebasing: bytes[..<count])) { body($0, $1, now) }
      }
    }
  }

  private func remember(_ count: Int) {
    tail = Array((tail + chunk[..<count].suffix(32)).suffix(32))
  }

  /// `copytruncate`: the file is shorter than what was read, or not the same any more before that.
  private func startAgainIfTruncated() throws -> Bool {
    let offset = splitter.nextOffset
    guard offset > 0 else { return false }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return false }
    if UInt64(clamping: status.st_size) >= offset {
      if tail.isEmpty || sameTail(before: offset) { return false }
    }
    let stray = splitter
    splitter = EntrySplitter(isPlain: stray.isPlain)
    splitter.inheritCounts(of: stray)
    tail = []
    return true
  }

  private func sameTail(before offset: UInt64) -> Bool {
    var bytes = [UInt8](repeating: 0, count: tail.count)
    let start = off_t(clamping: offset) - off_t(tail.count)
    return pread(descriptor, &bytes, bytes.count, start) != bytes.count || bytes == tail
  }
}

/// Which file a name leads to.
struct FileIdentity: Hashable {
  var device: UInt64
  var inode: UInt64

  init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }
}
