import Glibc
import Gzip

/// A file read forward through one buffer, so that memory does not follow its size. What gzip made of it
/// is undone on the way.
struct ByteSource: ~Copyable {
  let path: String
  private let descriptor: Int32
  private var buffer: UnsafeMutableRawPointer
  private var capacity: Int
  /// What of the buffer is filled and not yet consumed.
  private var start = 0
  private var end = 0
  private var atEnd = false
  /// Bytes consumed so far; of a compressed file, those that it holds.
  private(set) var offset: UInt64 = 0
  private var inflater: Inflater?

  /// - Parameter path: `-` for standard input.
  static func open(_ path: String, capacity: Int) throws(CaptureError) -> ByteSource {
    if path == "-" { return ByteSource("standard input", dup(0), capacity) }
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw CaptureError(path: path, reason: errorText(errno))
    }
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
    return ByteSource(path, descriptor, capacity)
  }

  private init(_ path: String, _ descriptor: Int32, _ capacity: Int) {
    self.path = path
    self.descriptor = descriptor
    self.capacity = capacity
    buffer = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit {
    buffer.deallocate()
    close(descriptor)
  }

  /// The bytes at hand, from `offset` on.
  @inline(__always)
  var available: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: buffer + start, count: end - start)
  }

  @inline(__always)
  mutating func consume(_ count: Int) {
    start += count
    offset += UInt64(count)
  }

  /// Makes at least `count` bytes available, if the file has them.
  /// - Returns: whether it has.
  mutating func fill(_ count: Int) throws(CaptureError) -> Bool {
    if end - start >= count { return true }
    if start > 0 {
      memmove(buffer, buffer + start, end - start)
      end -= start
      start = 0
    }
    if count > capacity {
      let larger = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
      memcpy(larger, buffer, end)
      buffer.deallocate()
      buffer = larger
      capacity = count
    }
    while end < count && !atEnd {
      let room = UnsafeMutableRawBufferPointer(start: buffer + end, count: capacity - end)
      let got = try readMore(room)
      if got == 0 { atEnd = true }
      end += got
    }
    return end - start >= count
  }

  private func readMore(_ room: UnsafeMutableRawBufferPointer) throws(CaptureError) -> Int {
    let position = offset + UInt64(end - start)
    let (path, descriptor) = (path, descriptor)
    guard let inflater else { return try Self.readRaw(descriptor, room, path, position) }
    return try inflater.read(into: room) { (input) throws(CaptureError) in
      try Self.readRaw(descriptor, input, path, position)
    } failure: { reason in
      CaptureError(path: path, offset: position, reason: reason)
    }
  }

  private static func readRaw(
    _ descriptor: Int32, _ room: UnsafeMutableRawBufferPointer, _ path: String, _ position: UInt64
  ) throws(CaptureError) -> Int {
    while true {
      let got = read(descriptor, room.baseAddress, room.count)
      if got >= 0 { return got }
      if errno != EINTR {
        throw CaptureError(path: path, offset: position, reason: errorText(errno))
      }
    }
  }

  /// Takes what is at hand, and all that follows, for the work of gzip, when it looks like that.
  /// - Returns: whether it does.
  mutating func beginInflating() throws(CaptureError) -> Bool {
    guard inflater == nil, offset == 0, Inflater.isCompressed(available) else { return false }
    guard let made = Inflater(start: available) else {
      throw CaptureError(path: path, reason: "zlib cannot be used")
    }
    inflater = made
    start = 0
    end = 0
    atEnd = false
    return true
  }

  /// Passes over bytes that need not be looked at, however many.
  /// - Returns: whether the file has as many.
  mutating func skip(_ count: Int) throws(CaptureError) -> Bool {
    var left = count
    while left > 0 {
      if start == end, try !fill(1) { return false }
      let step = min(left, end - start)
      consume(step)
      left -= step
    }
    return true
  }
}

func errorText(_ code: Int32) -> String {
  var text = [CChar](repeating: 0, count: 256)
  _ = strerror_r(code, &text, text.count)
  return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
