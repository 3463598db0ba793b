public import CaptureFile
import Glibc

/// A file that a session is appended to: opened while there are privileges, written without them.
public final class RecordingFile: @unchecked Sendable {
  // Opened in one thread and written in another, never in both at once.
  public let path: String
  private let descriptor: Int32
  /// Bytes that are good.
  public private(set) var size: UInt64 = 0

  /// Creates the file, readable by its owner alone, or empties it. A pipe is as good.
  /// - Throws: `CaptureError` with the path.
  public init(path: String) throws(CaptureError) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw CaptureError(path: path, reason: Self.text(errno))
    }
  }

  deinit { close(descriptor) }

  /// Appends whole blocks. What did not fit is taken back, so that the file ends with a whole block.
  /// - Throws: `CaptureError` when the disk is full, or the reader of a pipe gone.
  func append(_ bytes: [UInt8]) throws(CaptureError) {
    var written = 0
    while written < bytes.count {
      let count = bytes[written...].withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 {
        let code = errno
        if code == EINTR { continue }
        _ = ftruncate(descriptor, off_t(size))
        throw CaptureError(path: path, offset: size, reason: Self.text(code))
      }
      written += count
    }
    size += UInt64(bytes.count)
  }

  /// Begins anew.
  func empty() {
    // A pipe cannot, and need not.
    _ = ftruncate(descriptor, 0)
    size = 0
  }

  private static func text(_ code: Int32) -> String {
    var text = [CChar](repeating: 0, count: 256)
    _ = strerror_r(code, &text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
