import Evidence
import Glibc
import Gzip
import LinuxHost

/// The bytes of a log: of a file, the standard input, or what gzip made of one when it was rotated.
final class LogInput {
  let path: String
  private let descriptor: Int32
  private let ownsDescriptor: Bool
  private var unzip: Inflater?
  private var isStarted = false
  /// Read already, to see whether it is compressed.
  private var firstBytes: [UInt8] = []

  /// - Parameters:
  ///   - path: `-` is the standard input.
  ///   - offset: bytes to skip.
  /// - Throws: `ProbeError` with the path, and the offset when it cannot be reached.
  init(_ path: String, from offset: UInt64 = 0) throws {
    self.path = path
    ownsDescriptor = path != "-"
    descriptor = ownsDescriptor ? open(path, O_RDONLY | O_CLOEXEC) : 0
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open \(path)", reason: errorText(errno))
    }
    guard offset > 0 else { return }
    // Skipped bytes are none of a compressed file's header.
    isStarted = true
    if lseek(descriptor, off_t(clamping: offset), SEEK_SET) < 0 {
      throw ProbeError(doing: "read \(path) from byte \(offset)", reason: errorText(errno))
    }
  }

  /// The last bytes of a plain file; all of one that is compressed, or is none.
  convenience init(_ path: String, fromEnd count: Int) throws {
    try self.init(path)
    var status = stat()
    var start: [UInt8] = [0, 0]
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      pread(descriptor, &start, 2, 0) == 2, start != Self.gzip,
      lseek(descriptor, max(0, status.st_size - off_t(count)), SEEK_SET) >= 0
    else { return }
    isStarted = true
  }

  private static let gzip: [UInt8] = [0x1f, 0x8b]

  deinit { if ownsDescriptor && descriptor >= 0 { close(descriptor) } }

  /// Reads what comes next; 0 at the end.
  /// - Throws: `ProbeError`.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
    if !isStarted { try start() }
    if let unzip {
      return try unzip.read(into: buffer) { (input) throws(ProbeError) in
        try self.readRaw(into: input, at: offset)
      } failure: { reason in
        ProbeError(doing: "read \(path)", reason: reason)
      }
    }
    if !firstBytes.isEmpty {
      let count = min(firstBytes.count, buffer.count)
      buffer.copyBytes(from: firstBytes.prefix(count))
      firstBytes.removeFirst(count)
      let more = try readRaw(into: .init(rebasing: buffer[count...]), at: offset)
      return count + more
    }
    return try readRaw(into: buffer, at: offset)
  }

  private func start() throws {
    isStarted = true
    var bytes = [UInt8](repeating: 0, count: 2)
    while firstBytes.count < 2 {
      let count = try bytes.withUnsafeMutableBytes { try readRaw(into: $0, at: 0) }
      if count == 0 { break }
      firstBytes += bytes[..<count]
    }
    guard Inflater.isCompressed(firstBytes) else { return }
    unzip = firstBytes.withUnsafeBytes { Inflater(start: $0) }
    if unzip == nil { throw ProbeError(doing: "read \(path)", reason: "zlib cannot be used") }
    firstBytes = []
  }

  private func readRaw(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(ProbeError) -> Int {
    while true {
      let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      if count >= 0 { return count }
      if errno != EINTR {
        throw ProbeError(doing: "read \(path) at byte \(offset)", reason: errorText(errno))
      }
    }
  }
}
