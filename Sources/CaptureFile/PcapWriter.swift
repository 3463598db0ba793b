import Glibc

/// Writes a pcap file with nanoseconds, in the byte order of this host.
///
///     var writer = try PcapWriter(path: "out.pcap", linkType: .ethernet)
///     try writer.write(time: nanoseconds, bytes: frame)
///     try writer.close()
public struct PcapWriter: ~Copyable {
  private let path: String
  private var descriptor: Int32
  private var buffer: [UInt8]
  private var offset: UInt64 = 0

  /// Creates the file, or empties it.
  /// - Parameter path: `-` for standard output.
  /// - Throws: `CaptureError` when it cannot be created.
  public init(path: String, linkType: LinkType, snapLength: UInt32 = 262_144) throws(CaptureError) {
    let descriptor =
      path == "-" ? dup(1) : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw CaptureError(path: path, reason: errorText(errno)) }
    self.path = path
    self.descriptor = descriptor
    buffer = Self.header(linkType: linkType, snapLength: snapLength)
  }

  deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

  /// The 24 bytes that a file starts with.
  public static func header(linkType: LinkType, snapLength: UInt32 = 262_144) -> [UInt8] {
    var bytes: [UInt8] = []
    append(0xa1b2_3c4d, to: &bytes)
    append(UInt32(2) | UInt32(4) << 16, to: &bytes)
    append(0, to: &bytes)
    append(0, to: &bytes)
    append(snapLength, to: &bytes)
    append(linkType.rawValue, to: &bytes)
    return bytes
  }

  /// Appends one packet's record to a file's bytes.
  /// - Parameters:
  ///   - time: nanoseconds since the epoch.
  ///   - originalLength: the length on the wire; nil when nothing was cut.
  public static func append(
    time: Int64, originalLength: UInt32? = nil, bytes: UnsafeRawBufferPointer,
    to file: inout [UInt8]
  ) {
    append(UInt32(truncatingIfNeeded: time / 1_000_000_000), to: &file)
    append(UInt32(truncatingIfNeeded: time % 1_000_000_000), to: &file)
    append(UInt32(truncatingIfNeeded: bytes.count), to: &file)
    append(originalLength ?? UInt32(truncatingIfNeeded: bytes.count), to: &file)
    file.append(contentsOf: bytes)
  }

  private static func append(_ value: UInt32, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
  }

  /// - Throws: `CaptureError` when the disk is full, or the reader of a pipe gone.
  public mutating func write(
    time: Int64, originalLength: UInt32? = nil, bytes: UnsafeRawBufferPointer
  ) throws(CaptureError) {
    Self.append(time: time, originalLength: originalLength, bytes: bytes, to: &buffer)
    if buffer.count >= 1 << 18 { try flush() }
  }

  /// Writes out what is buffered.
  public mutating func flush() throws(CaptureError) {
    var written = 0
    while written < buffer.count {
      let count = buffer.withUnsafeBytes { bytes in
        bytes.baseAddress.map { Glibc.write(descriptor, $0 + written, bytes.count - written) } ?? 0
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw CaptureError(path: path, offset: offset, reason: errorText(errno))
      }
      written += count
      offset += UInt64(count)
    }
    buffer.removeAll(keepingCapacity: true)
  }

  /// Writes out the rest and closes the file.
  public mutating func close() throws(CaptureError) {
    try flush()
    let result = Glibc.close(descriptor)
    descriptor = -1
    if result != 0 { throw CaptureError(path: path, offset: offset, reason: errorText(errno)) }
  }
}
