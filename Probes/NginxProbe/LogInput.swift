import CZlib
import Evidence
import Glibc
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
      return try unzip.read(into: buffer) { try self.readRaw(into: $0, at: offset) }
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
    guard firstBytes.starts(with: Self.gzip) else { return }
    unzip = try Inflater(path: path, start: firstBytes)
    firstBytes = []
  }

  private func readRaw(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws -> Int {
    while true {
      let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      if count >= 0 { return count }
      if errno != EINTR {
        throw ProbeError(doing: "read \(path) at byte \(offset)", reason: errorText(errno))
      }
    }
  }
}

/// Undoes gzip; several members one behind the other are one file, as gzip itself reads them.
private final class Inflater {
  private let path: String
  private var stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)
  private var isEnded = false

  init(path: String, start: [UInt8]) throws {
    self.path = path
    stream.initialize(to: z_stream())
    input.copyBytes(from: start)
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(start.count)
    // 16: gzip's own header and checksum.
    guard
      inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { throw ProbeError(doing: "read \(path)", reason: "zlib cannot be used") }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer,
    more: (UnsafeMutableRawBufferPointer) throws -> Int
  ) throws -> Int {
    stream.pointee.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(clamping: buffer.count)
    let wanted = Int(stream.pointee.avail_out)
    while stream.pointee.avail_out > 0 {
      if stream.pointee.avail_in == 0 {
        let count = try more(input)
        stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_in = UInt32(count)
        if count == 0 {
          let got = wanted - Int(stream.pointee.avail_out)
          // What was unpacked stays true; the next read says that it was cut.
          if got > 0 || isEnded { return got }
          throw ProbeError(doing: "read \(path)", reason: "its compressed data ends too early")
        }
      }
      if isEnded {
        inflateReset(stream)
        isEnded = false
      }
      let result = inflate(stream, Z_NO_FLUSH)
      if result == Z_STREAM_END {
        isEnded = true
      } else if result != Z_OK && result != Z_BUF_ERROR {
        let got = wanted - Int(stream.pointee.avail_out)
        if got > 0 { return got }
        throw ProbeError(
          doing: "read \(path)", reason: "its compressed data is damaged (zlib \(result))")
      }
    }
    return wanted - Int(stream.pointee.avail_out)
  }
}
