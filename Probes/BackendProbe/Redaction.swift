import Evidence

/// Takes out of a log's line what is nobody's business: query strings, and the values of names that
/// stand for a secret. A line that is kept is evidence of an end, and is seen by others.
enum Redaction {
  /// A longer line is cut.
  static let longest = 400

  /// The line's text as it is kept.
  static func text(of line: UnsafeRawBufferPointer) -> String {
    var kept: [UInt8] = []
    kept.reserveCapacity(min(line.count, longest + 8))
    var index = 0
    while index < line.count, kept.count < longest {
      if let end = secret(line, index, &kept) {
        index = end
        continue
      }
      let byte = line[index]
      kept.append(byte)
      index += 1
      if byte == UInt8(ascii: "?"), isQuery(line, index) {
        kept += "…".utf8
        while index < line.count, !isEnd(line[index]) { index += 1 }
      }
    }
    let text = String(escapingControlsIn: wholeCharacters(kept))
    return index < line.count ? text + "…" : text
  }

  /// A question mark that is followed by `name=`; a sentence's is followed by a space.
  private static func isQuery(_ line: UnsafeRawBufferPointer, _ start: Int) -> Bool {
    var index = start
    while index < line.count, !isEnd(line[index]) {
      if line[index] == UInt8(ascii: "=") || line[index] == UInt8(ascii: "&") { return true }
      index += 1
    }
    return false
  }

  private static func isEnd(_ byte: UInt8) -> Bool {
    byte <= 32 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'")
      || byte == UInt8(ascii: ">") || byte == UInt8(ascii: ")")
  }

  private static let names: [StaticString] = [
    "authorization", "cookie", "password", "passwd", "secret", "token", "apikey", "api_key",
    "api-key", "session", "credential", "bearer ",
  ]

  /// Where a secret's name begins here and a value follows: writes the name, and skips the value.
  /// - Returns: where to go on; nil when there is none.
  private static func secret(
    _ line: UnsafeRawBufferPointer, _ start: Int, _ kept: inout [UInt8]
  ) -> Int? {
    // Few letters begin such a name.
    switch line[start] | 0x20 {
    case UInt8(ascii: "a"), UInt8(ascii: "b"), UInt8(ascii: "c"), UInt8(ascii: "p"),
      UInt8(ascii: "s"), UInt8(ascii: "t"):
      break
    default: return nil
    }
    for name in names where begins(line, start, name) {
      var index = start + name.utf8CodeUnitCount
      // The rest of the word, a closing quote, then `:` or `=`.
      while index < line.count, isNameByte(line[index]) { index += 1 }
      if index < line.count, line[index] == UInt8(ascii: "\"") || line[index] == UInt8(ascii: "'") {
        index += 1
      }
      let isBearer = line[start + name.utf8CodeUnitCount - 1] == 32
      if !isBearer {
        while index < line.count, line[index] == 32 { index += 1 }
        guard index < line.count,
          line[index] == UInt8(ascii: ":") || line[index] == UInt8(ascii: "=")
        else { continue }
        index += 1
        while index < line.count, line[index] == 32 { index += 1 }
      }
      guard index < line.count else { continue }
      kept += line[start..<index]
      kept += "…".utf8
      return valueEnd(line, index)
    }
    return nil
  }

  /// Behind a value: a quoted one to its quote, a scheme's (`Bearer abc`) with the word behind it.
  private static func valueEnd(_ line: UnsafeRawBufferPointer, _ start: Int) -> Int {
    var index = start
    let quote = line[index]
    if quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
      index += 1
      while index < line.count, line[index] != quote { index += 1 }
      return min(index + 1, line.count)
    }
    while index < line.count, !isEnd(line[index]), line[index] != UInt8(ascii: ",") { index += 1 }
    for scheme: StaticString in ["basic", "bearer", "digest", "token"]
    where begins(line, start, scheme) && index == start + scheme.utf8CodeUnitCount {
      if index < line.count { index += 1 }
      while index < line.count, !isEnd(line[index]) { index += 1 }
    }
    return index
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
      || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
  }

  private static func begins(
    _ line: UnsafeRawBufferPointer, _ start: Int, _ name: StaticString
  ) -> Bool {
    let count = name.utf8CodeUnitCount
    guard line.count - start >= count else { return false }
    for index in 0..<count where line[start + index] | 0x20 != name.utf8Start[index] | 0x20 {
      return false
    }
    return true
  }

  /// Without a character that was cut in the middle.
  private static func wholeCharacters(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
    var end = bytes.count
    var back = 0
    while end > 0, back < 4, bytes[end - 1] & 0xc0 == 0x80 {
      end -= 1
      back += 1
    }
    guard end > 0, bytes[end - 1] >= 0xc0 else { return bytes[...] }
    let wanted = bytes[end - 1] >= 0xf0 ? 4 : bytes[end - 1] >= 0xe0 ? 3 : 2
    return back + 1 == wanted ? bytes[...] : bytes[..<(end - 1)]
  }
}
