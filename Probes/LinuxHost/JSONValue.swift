/// JSON as journald and dmesg write it. FoundationEssentials would add 7 MB to the program, and the
/// journal's byte arrays would have to be undone all the same.
public enum JSONValue: Equatable, Sendable {
  case string([UInt8])
  /// As it was written.
  case number([UInt8])
  case array([JSONValue])
  case object([(key: [UInt8], value: JSONValue)])
  case literal

  public struct Failure: Error, Equatable {
    /// Bytes from the beginning of what was parsed.
    public var offset: Int
    public var reason: String
  }

  public static func == (a: JSONValue, b: JSONValue) -> Bool {
    switch (a, b) {
    case (.string(let a), .string(let b)), (.number(let a), .number(let b)): a == b
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)):
      a.count == b.count && zip(a, b).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    case (.literal, .literal): true
    default: false
    }
  }

  public subscript(key: StaticString) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    let name = UnsafeBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount)
    return members.first { $0.key.elementsEqual(name) }?.value
  }

  /// The bytes of a string, also of one that journald wrote as an array of numbers since it was no
  /// UTF-8.
  public var bytes: [UInt8]? {
    switch self {
    case .string(let bytes): return bytes
    case .array(let items):
      var bytes: [UInt8] = []
      for item in items {
        guard case .number(let digits) = item, let value = decimal(digits),
          let byte = UInt8(exactly: value)
        else { return nil }
        bytes.append(byte)
      }
      return bytes
    default: return nil
    }
  }

  /// A whole number, also one in a string, as journald writes all of them.
  public var integer: UInt64? {
    switch self {
    case .string(let digits), .number(let digits): decimal(digits)
    default: nil
    }
  }
}

/// Reads JSON from bytes.
public struct JSONReader {
  private let bytes: ArraySlice<UInt8>
  private var index: Int
  private static let deepest = 32

  public init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    index = bytes.startIndex
  }

  /// Bytes read so far.
  public var offset: Int { index - bytes.startIndex }

  public mutating func value(depth: Int = 0) throws(JSONValue.Failure) -> JSONValue {
    guard depth < Self.deepest else { throw failure("nested too deep") }
    skipSpace()
    guard index < bytes.endIndex else { throw failure("it ends within a value") }
    switch bytes[index] {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "-"), 48...57:
      let start = index
      while index < bytes.endIndex, Self.isNumber(bytes[index]) { index += 1 }
      return .number(Array(bytes[start..<index]))
    default:
      for word in ["true", "false", "null"] where bytes[index...].starts(with: word.utf8) {
        index += word.utf8.count
        return .literal
      }
      throw failure("no value")
    }
  }

  private mutating func object(_ depth: Int) throws(JSONValue.Failure) -> JSONValue {
    index += 1
    var members: [(key: [UInt8], value: JSONValue)] = []
    if take("}") { return .object(members) }
    repeat {
      skipSpace()
      let key = try string()
      guard take(":") else { throw failure("no colon after a name") }
      members.append((key, try value(depth: depth + 1)))
    } while take(",")
    guard take("}") else { throw failure("an object does not end") }
    return .object(members)
  }

  private mutating func array(_ depth: Int) throws(JSONValue.Failure) -> JSONValue {
    index += 1
    var items: [JSONValue] = []
    if take("]") { return .array(items) }
    repeat { items.append(try value(depth: depth + 1)) } while take(",")
    guard take("]") else { throw failure("an array does not end") }
    return .array(items)
  }

  private mutating func string() throws(JSONValue.Failure) -> [UInt8] {
    guard index < bytes.endIndex, bytes[index] == UInt8(ascii: "\"") else {
      throw failure("no string")
    }
    index += 1
    var result: [UInt8] = []
    while index < bytes.endIndex {
      let byte = bytes[index]
      index += 1
      if byte == UInt8(ascii: "\"") { return result }
      if byte != UInt8(ascii: "\\") {
        result.append(byte)
        continue
      }
      guard index < bytes.endIndex else { break }
      let escape = bytes[index]
      index += 1
      switch escape {
      case UInt8(ascii: "n"): result.append(10)
      case UInt8(ascii: "t"): result.append(9)
      case UInt8(ascii: "r"): result.append(13)
      case UInt8(ascii: "b"): result.append(8)
      case UInt8(ascii: "f"): result.append(12)
      case UInt8(ascii: "u"): result += Array(String(try unicode()).utf8)
      default: result.append(escape)
      }
    }
    throw failure("a string does not end")
  }

  private mutating func unicode() throws(JSONValue.Failure) -> Character {
    var code = try codeUnit()
    if (0xd800..<0xdc00).contains(code), bytes[index...].starts(with: "\\u".utf8) {
      index += 2
      let low = try codeUnit()
      code = 0x10000 + (code - 0xd800) << 10 + (low & 0x3ff)
    }
    return Character(Unicode.Scalar(code) ?? "\u{fffd}")
  }

  private mutating func codeUnit() throws(JSONValue.Failure) -> UInt32 {
    guard bytes.endIndex - index >= 4,
      let code = UInt32(String(decoding: bytes[index..<index + 4], as: UTF8.self), radix: 16)
    else { throw failure("a \\u escape is cut") }
    index += 4
    return code
  }

  /// Enters `{"name": [` at the beginning of a document, whose items then come one by one, so that a
  /// document that was cut still gives those before the cut.
  public mutating func openArray(named name: String) throws(JSONValue.Failure) {
    guard take("{") else { throw failure("no object") }
    skipSpace()
    guard try string().elementsEqual(name.utf8), take(":"), take("[") else {
      throw failure("no array named \(name)")
    }
  }

  /// The next item of the array that was entered; nil at its end.
  public mutating func nextItem() throws(JSONValue.Failure) -> JSONValue? {
    if take("]") { return nil }
    _ = take(",")
    return try value()
  }

  private mutating func skipSpace() {
    while index < bytes.endIndex, [32, 9, 10, 13].contains(bytes[index]) { index += 1 }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard index < bytes.endIndex, UInt32(bytes[index]) == character.value else { return false }
    index += 1
    return true
  }

  private func failure(_ reason: String) -> JSONValue.Failure {
    JSONValue.Failure(offset: offset, reason: reason)
  }

  private static func isNumber(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || "+-.eE".utf8.contains(byte)
  }
}
