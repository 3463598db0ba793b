import Evidence
import Glibc
import LinuxHost

/// An error log that comes through a pipe, as it is written: `journalctl -f -u nginx`, `docker logs -f`.
///
/// What they put before each line is taken off. Lines that are not nginx's (of the access log, of the
/// service manager) are counted and passed over.
final class PipedLog {
  let path: String
  let descriptor: Int32
  private var splitter = EntrySplitter()
  /// Nil until something looked like an entry.
  private var prefix: LinePrefix?
  private var chunk = [UInt8](repeating: 0, count: 64 << 10)
  /// When it was last waited for in vain: what is read now was written later.
  private(set) var lastEmpty: Timestamp?
  private(set) var isAtEnd = false
  private var unlike: UInt64 = 0

  /// - Parameter descriptor: the standard input.
  init(_ path: String, descriptor: Int32 = 0) {
    self.path = path
    self.descriptor = descriptor
  }

  /// Lines that are no entries.
  var strayLines: UInt64 { splitter.strayLines + splitter.overlong + unlike }

  /// Reads what is there, which must be something, or the end.
  /// - Parameter body: gets each entry, its offset and when it was read.
  /// - Returns: why nothing more comes; nil as long as something may.
  func service(_ body: (Span<UInt8>, UInt64, Timestamp) -> Void) -> ProbeError? {
    let count = read(descriptor, &chunk, chunk.count)
    let now = currentTime()
    if count < 0, errno == EINTR || errno == EAGAIN { return nil }
    guard count > 0 else {
      isAtEnd = true
      let reason = count < 0 ? errorText(errno) : "it has ended"
      splitter.finish { body($0, $1, now) }
      return ProbeError(doing: "read errors from the standard input", reason: reason)
    }
    let block = chunk[..<count]
    if prefix == nil { prefix = LinePrefix(deciding: block) }
    guard prefix != nil else {
      unlike += UInt64(block.count { $0 == 10 })
      return nil
    }
    let isBare = prefix?.isNone ?? true
    let bare = isBare ? Array(block) : prefix?.strip(block) ?? []
    bare.withUnsafeBytes { splitter.take($0) { body($0, $1, now) } }
    var more = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    if poll(&more, 1, 0) == 0 {
      // An entry is written at once: when nothing waits the last one is whole.
      splitter.settle { body($0, $1, now) }
      lastEmpty = now
    }
    return nil
  }
}
