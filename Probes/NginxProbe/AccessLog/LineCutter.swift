import Glibc

/// Cuts bytes that come in blocks into lines, in place: only a line that two blocks share is moved.
struct LineCutter {
  /// Bytes at which a line is given up.
  static let limit = 64 << 10

  private let buffer: UnsafeMutableRawBufferPointer
  private var kept = 0
  private(set) var overlong: UInt64 = 0
  private var isSkipping = false
  /// Where in the file the buffer's first byte is from.
  private var offset: UInt64 = 0

  /// - Parameter buffer: at least twice `limit`; it must outlive this.
  init(_ buffer: UnsafeMutableRawBufferPointer) { self.buffer = buffer }

  /// Where the next block goes.
  var free: UnsafeMutableRawBufferPointer { .init(rebasing: buffer[kept...]) }

  /// Where in the file the next byte is to come from.
  var nextOffset: UInt64 { offset + UInt64(kept) }

  /// Hands out the lines that are whole now.
  /// - Parameters:
  ///   - count: bytes that were put into `free`.
  ///   - isLast: nothing more comes, so a line without a line feed is one too.
  mutating func take(
    _ count: Int, isLast: Bool, _ body: (UnsafeBufferPointer<UInt8>, UInt64) -> Void
  ) {
    guard let base = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
    let end = kept + count
    var start = 0
    var searched = kept
    while searched < end,
      let found = memchr(base + searched, 10, end - searched)
    {
      let feed = UnsafeRawPointer(found) - UnsafeRawPointer(base)
      if !isSkipping, feed > start {
        body(UnsafeBufferPointer(start: base + start, count: feed - start), offset + UInt64(start))
      }
      isSkipping = false
      start = feed + 1
      searched = start
    }
    if isLast, start < end, !isSkipping {
      body(UnsafeBufferPointer(start: base + start, count: end - start), offset + UInt64(start))
      start = end
    }
    if end - start > Self.limit {
      if !isSkipping { overlong += 1 }
      isSkipping = true
      start = end
    }
    kept = end - start
    offset += UInt64(start)
    if start > 0, kept > 0 { memmove(base, base + start, kept) }
  }
}
