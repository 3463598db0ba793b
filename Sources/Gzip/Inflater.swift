import CZlib

/// Undoes gzip (RFC 1952); several members one behind the other are one file, as gzip itself reads
/// them.
///
/// The errors are the caller's own: it knows the file's name and how far it was read.
public final class Inflater {
  private var stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
  private let input: UnsafeMutableRawBufferPointer
  private var isEnded = false

  /// Whether a file that begins with these bytes is compressed.
  public static func isCompressed(_ start: some Collection<UInt8>) -> Bool {
    start.starts(with: [0x1f, 0x8b])
  }

  /// - Parameter start: what was read of the file already.
  /// - Returns: nil when zlib cannot be used.
  public init?(start: UnsafeRawBufferPointer) {
    stream.initialize(to: z_stream())
    input = .allocate(byteCount: max(64 << 10, start.count), alignment: 8)
    input.copyMemory(from: start)
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(start.count)
    // 16: gzip's own header and checksum.
    guard
      inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { return nil }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  /// Fills a buffer with what comes next.
  /// - Parameters:
  ///   - more: reads compressed bytes; 0 at the end of the file.
  ///   - failure: makes an error of a reason, as `its compressed data ends too early`.
  /// - Returns: bytes unpacked; 0 at the end. What was unpacked before damage is returned first.
  public func read<Failure: Error>(
    into buffer: UnsafeMutableRawBufferPointer,
    more: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int, failure: (String) -> Failure
  ) throws(Failure) -> Int {
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
          throw failure("its compressed data ends too early")
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
        throw failure("its compressed data is damaged (zlib \(result))")
      }
    }
    return wanted - Int(stream.pointee.avail_out)
  }
}
