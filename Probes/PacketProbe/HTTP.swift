import Glibc

/// As much of HTTP/1 (RFC 9112) as shows in the first bytes of a segment.
enum HTTP {
  /// The length of a method (RFC 9110, 9.1: in practice upper case letters and `-`) before a space; nil
  /// when the bytes do not begin with one.
  @inline(__always)
  private static func methodLength(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return nil }
    let end = min(bytes.count, 21)
    var position = 0
    while position < end {
      let byte = base.byte(position)
      if byte &- 0x41 > 25 {
        if byte == 0x20 { return position >= 3 ? position : nil }
        guard byte == 0x2d, position > 0 else { return nil }
      }
      position &+= 1
    }
    return nil
  }

  static func startsWithMethod(_ bytes: UnsafeRawBufferPointer) -> Bool {
    methodLength(bytes) != nil
  }

  static func isHEAD(_ bytes: UnsafeRawBufferPointer) -> Bool { starts(bytes, with: "HEAD ") }

  static func isHTTP2Preface(_ bytes: UnsafeRawBufferPointer) -> Bool {
    starts(bytes, with: "PRI * HTTP/2")
  }

  private static func starts(_ bytes: UnsafeRawBufferPointer, with text: StaticString) -> Bool {
    guard bytes.count >= text.utf8CodeUnitCount, let base = bytes.baseAddress else { return false }
    return memcmp(base, text.utf8Start, text.utf8CodeUnitCount) == 0
  }

  /// `METHOD target` without the query string; as much as was captured. Nil when it is no request.
  static func methodAndTarget(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard let method = methodLength(bytes), let base = bytes.baseAddress else { return nil }
    // A space, a line's end, or the query string.
    let ends: UInt64 = 1 << 0x20 | 1 << 0x0d | 1 << 0x0a | 1 << 0x3f
    let end = min(bytes.count, RequestLines.capacity)
    var position = method &+ 1
    while position < end {
      let byte = base.byte(position)
      if byte < 64, ends >> UInt64(byte) & 1 != 0 { break }
      position &+= 1
    }
    return UnsafeRawBufferPointer(start: base, count: min(position, bytes.count))
  }

  /// A whole request line, with its version: stronger than `startsWithMethod`, for telling a second
  /// request from the body of the first.
  static func isRequestLine(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard startsWithMethod(bytes), let base = bytes.baseAddress,
      let end = memchr(base, 0x0a, bytes.count)
    else { return false }
    let length = UnsafeRawPointer(end) - UnsafeRawPointer(base)
    let line = UnsafeRawBufferPointer(start: base, count: length)
    guard length > 12 else { return false }
    let version = line[(length - 9)...]
    return starts(UnsafeRawBufferPointer(rebasing: version), with: "HTTP/1.")
  }

  /// How long a request will be, from the header in its first segment: -1 when that does not tell.
  /// A GET has no body that anybody waits for.
  static func requestLength(_ bytes: UnsafeRawBufferPointer) -> Int64 {
    guard let first = bytes.first, first != 0x47, first != 0x48 else { return -1 }
    var fields = ResponseHead()
    fields.readFields(bytes)
    guard let header = fields.headerLength, let body = fields.contentLength, !fields.isChunked
    else {
      return -1
    }
    return Int64(header) &+ Int64(clamping: body)
  }

  /// Whether these bytes end the last chunk (`0`, an empty line), or are a piece of its end.
  static func endsWithLastChunk(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let end: StaticString = "0\r\n\r\n"
    guard let base = bytes.baseAddress else { return false }
    let count = min(bytes.count, 5)
    return memcmp(base + bytes.count - count, end.utf8Start + 5 - count, count) == 0
  }

  /// Fewer bytes than a status line needs, but nothing else than the beginning of one.
  static func mayBeginResponse(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let name: StaticString = "HTTP/1."
    guard let base = bytes.baseAddress, bytes.count < 12 else { return false }
    return memcmp(base, name.utf8Start, min(bytes.count, name.utf8CodeUnitCount)) == 0
  }

  /// The header of a response (or the fields of a request), as far as it was captured.
  struct ResponseHead {
    var status = 0
    /// Bytes up to the body; nil when the header's end was not captured.
    var headerLength: Int?
    var contentLength: UInt64?
    var isChunked = false

    /// Nil when it is no HTTP/1 response.
    init?(_ bytes: UnsafeRawBufferPointer) {
      guard bytes.count >= 12, HTTP.starts(bytes, with: "HTTP/1.") else { return nil }
      for position in 9..<12 {
        guard bytes[position] >= 0x30, bytes[position] <= 0x39 else { return nil }
        status = status * 10 + Int(bytes[position] - 0x30)
      }
      readFields(bytes)
    }

    init() {}

    /// Goes on with a header whose first part ended within a line, behind one, or behind the CR of an
    /// empty one. `headerLength` is then counted from these bytes on.
    mutating func readRest(
      _ bytes: UnsafeRawBufferPointer, atLineStart: Bool, afterReturn: Bool
    ) {
      guard let base = bytes.baseAddress, let first = bytes.first else { return }
      if first == 0x0a, atLineStart || afterReturn {
        headerLength = 1
      } else if atLineStart, first == 0x0d, bytes.count > 1, bytes[1] == 0x0a {
        headerLength = 2
      } else if atLineStart {
        readFields(bytes)
      } else if let end = memchr(base, 0x0a, bytes.count) {
        readFields(bytes, from: UnsafeRawPointer(end) - base + 1)
      }
    }

    mutating func readFields(_ bytes: UnsafeRawBufferPointer, from first: Int = 0) {
      guard let base = bytes.baseAddress, first < bytes.count else { return }
      var start = first
      while let found = memchr(base + start, 0x0a, bytes.count - start) {
        let end = UnsafeRawPointer(found) - base
        var line = bytes[start..<end]
        if line.last == 0x0d { line = line.dropLast() }
        if line.isEmpty, start > 0 {
          headerLength = end + 1
          return
        }
        read(UnsafeRawBufferPointer(rebasing: line))
        start = end + 1
        if start >= bytes.count { return }
      }
    }

    private mutating func read(_ line: UnsafeRawBufferPointer) {
      guard line.count > 15, let first = line.first else { return }
      if first | 0x20 == 0x63, let value = Self.value(of: "content-length:", in: line) {
        var length: UInt64 = 0
        for byte in value where byte >= 0x30 && byte <= 0x39 {
          length = length &* 10 &+ UInt64(byte - 0x30)
        }
        contentLength = length
      } else if first | 0x20 == 0x74, let value = Self.value(of: "transfer-encoding:", in: line) {
        // `chunked` comes last, after whatever else was applied.
        isChunked =
          value.count >= 7 && value.suffix(7).elementsEqual("chunked".utf8) { $0 | 0x20 == $1 }
      }
    }

    private static func value(
      of name: StaticString, in line: UnsafeRawBufferPointer
    ) -> Slice<UnsafeRawBufferPointer>? {
      let count = name.utf8CodeUnitCount
      guard line.count > count, let base = line.baseAddress,
        strncasecmp(
          base.assumingMemoryBound(to: CChar.self),
          UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self), count) == 0
      else { return nil }
      return line[count...]
    }
  }
}
