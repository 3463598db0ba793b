/// Reads JSON (RFC 8259) from bytes that anybody may have written.
struct JSONParser {
  struct Failure: Error, CustomStringConvertible {
    var offset: Int
    var description: String { "no JSON at byte \(offset)" }
  }

  /// What our own observations nest is a tenth of it; deeper text would only eat the stack.
  private static let deepest = 100

  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  private init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  static func parse(_ bytes: some Sequence<UInt8>) throws -> JSONNode {
    try Array(bytes).withUnsafeBytes { buffer in
      var parser = JSONParser(buffer)
      let node = try parser.value(depth: 0)
      parser.skipSpace()
      guard parser.position == buffer.count else { throw parser.failure }
      return node
    }
  }

  private var failure: Failure { Failure(offset: position) }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
      position += 1
    }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    position += 1
    return true
  }

  private mutating func take(_ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard position + count <= bytes.count else { return false }
    for offset in 0..<count where bytes[position + offset] != word.utf8Start[offset] {
      return false
    }
    position += count
    return true
  }

  private mutating func value(depth: Int) throws -> JSONNode {
    guard depth < Self.deepest else { throw failure }
    skipSpace()
    switch next {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): if take("true") { return .bool(true) }
    case UInt8(ascii: "f"): if take("false") { return .bool(false) }
    case UInt8(ascii: "n"): if take("null") { return .null }
    default: return try number()
    }
    throw failure
  }

  private mutating func object(_ depth: Int) throws -> JSONNode {
    position += 1
    var members: [(key: String, value: JSONNode)] = []
    skipSpace()
    if take(UInt8(ascii: "}")) { return .object(members) }
    while true {
      skipSpace()
      guard next == UInt8(ascii: "\"") else { throw failure }
      let key = try string()
      skipSpace()
      guard take(UInt8(ascii: ":")) else { throw failure }
      members.append((key, try value(depth: depth + 1)))
      skipSpace()
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { throw failure }
    }
  }

  private mutating func array(_ depth: Int) throws -> JSONNode {
    position += 1
    var elements: [JSONNode] = []
    skipSpace()
    if take(UInt8(ascii: "]")) { return .array(elements) }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if take(UInt8(ascii: "]")) { return .array(elements) }
      guard take(UInt8(ascii: ",")) else { throw failure }
    }
  }

  private mutating func number() throws -> JSONNode {
    let start = position
    while let byte = next {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"),
        UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
        position += 1
      default:
        guard position > start else { throw failure }
        return .number(text(start..<position))
      }
    }
    guard position > start else { throw failure }
    return .number(text(start..<position))
  }

  private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

  private mutating func string() throws -> String {
    position += 1
    let start = position
    while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") { position += 1 }
    guard next != nil else { throw failure }
    if take(UInt8(ascii: "\"")) { return text(start..<position - 1) }
    var decoded = Array(bytes[start..<position])
    while let byte = next {
      position += 1
      if byte == UInt8(ascii: "\"") { return String(decoding: decoded, as: UTF8.self) }
      if byte == UInt8(ascii: "\\") { try escape(&decoded) } else { decoded.append(byte) }
    }
    throw failure
  }

  private mutating func escape(_ decoded: inout [UInt8]) throws {
    guard let byte = next else { throw failure }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): decoded.append(byte)
    case UInt8(ascii: "b"): decoded.append(8)
    case UInt8(ascii: "f"): decoded.append(12)
    case UInt8(ascii: "n"): decoded.append(10)
    case UInt8(ascii: "r"): decoded.append(13)
    case UInt8(ascii: "t"): decoded.append(9)
    case UInt8(ascii: "u"):
      var code = try hex()
      if (0xd800..<0xdc00).contains(code), take("\\u") {
        let low = try hex()
        guard (0xdc00..<0xe000).contains(low) else { throw failure }
        code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
      }
      decoded += Character(Unicode.Scalar(code) ?? "\u{fffd}").utf8
    default: throw failure
    }
  }

  private mutating func hex() throws -> UInt32 {
    guard position + 4 <= bytes.count, let code = UInt32(text(position..<position + 4), radix: 16)
    else { throw failure }
    position += 4
    return code
  }
}
