import Evidence
import Glibc
import LinuxHost

/// Where a report goes: stdout or a file, written whole lines at a time.
final class Output {
  private(set) var descriptor: Int32
  private let path: String?
  private var buffer: [UInt8] = []
  /// The reader has gone away (a closed pipe) or the disk is full: nothing more is written.
  private(set) var failure: String?

  /// - Parameter path: nil: stdout.
  /// - Throws: `ProbeError` with the path when the file cannot be written.
  init(path: String?) throws {
    self.path = path
    descriptor = STDOUT_FILENO
    if let path { descriptor = try Self.create(path) }
  }

  private static func create(_ path: String) throws -> Int32 {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "write \(path)", reason: errorText(errno))
    }
    return descriptor
  }

  deinit {
    flush()
    if path != nil { close(descriptor) }
  }

  var isTerminal: Bool { isatty(descriptor) == 1 }

  /// Columns of the terminal; nil when it is none.
  var columns: Int? {
    guard isTerminal else { return nil }
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  func write(_ text: String) { write(text.utf8) }

  func write(_ text: some Sequence<UInt8>) {
    buffer += text
    if buffer.count > 64 << 10 { flush() }
  }

  func flush() {
    var written = 0
    while written < buffer.count, failure == nil {
      let count = buffer[written...].withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count > 0 {
        written += count
      } else if count < 0, errno != EINTR {
        failure = "cannot write \(path ?? "stdout"): \(errorText(errno))"
      }
    }
    buffer.removeAll(keepingCapacity: true)
  }
}
