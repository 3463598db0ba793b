import Evidence

/// Reads the words of a configuration as nginx does (nginx-1.22.1, src/core/ngx_conf_file.c,
/// `ngx_conf_read_token`): quotes only at the start of a word, a backslash takes the next byte along,
/// `${` does not open a block, `#` is a comment only where a word could start.
struct ConfigurationLexer {
  enum Token: Hashable {
    case word(String)
    case semicolon
    case open
    case close
    case end
  }

  private let bytes: [UInt8]
  private let file: String
  private var position = 0
  private(set) var line = 1

  init(_ bytes: [UInt8], file: String) {
    self.bytes = bytes
    self.file = file
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
  }

  /// The next token; `line` is then where it started.
  mutating func next() throws -> Token {
    skipBlanks()
    guard position < bytes.count else { return .end }
    switch bytes[position] {
    case UInt8(ascii: ";"):
      position += 1
      return .semicolon
    case UInt8(ascii: "{"):
      position += 1
      return .open
    case UInt8(ascii: "}"):
      position += 1
      return .close
    case UInt8(ascii: "\""), UInt8(ascii: "'"):
      return .word(try quoted())
    default:
      return .word(plain())
    }
  }

  func error(_ reason: String, line: Int? = nil) -> ConfigurationError {
    ConfigurationError(file: file, line: line ?? self.line, reason: reason)
  }

  private mutating func skipBlanks() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0d: position += 1
      case 0x0a:
        line += 1
        position += 1
      case UInt8(ascii: "#"):
        while position < bytes.count, bytes[position] != 0x0a { position += 1 }
      default: return
      }
    }
  }

  private mutating func plain() -> String {
    var word: [UInt8] = []
    var afterDollar = false
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\\"):
        takeEscaped(into: &word)
        afterDollar = false
        continue
      case UInt8(ascii: "{") where afterDollar: break
      case 0x20, 0x09, 0x0d, 0x0a, UInt8(ascii: ";"), UInt8(ascii: "{"):
        return String(decoding: word, as: UTF8.self)
      default: break
      }
      afterDollar = byte == UInt8(ascii: "$")
      word.append(byte)
      position += 1
    }
    return String(decoding: word, as: UTF8.self)
  }

  private mutating func quoted() throws -> String {
    let quote = bytes[position]
    let start = line
    position += 1
    var word: [UInt8] = []
    var newLines = 0
    while position < bytes.count, bytes[position] != quote {
      if bytes[position] == UInt8(ascii: "\\") {
        takeEscaped(into: &word)
        continue
      }
      if bytes[position] == 0x0a { newLines += 1 }
      word.append(bytes[position])
      position += 1
    }
    guard position < bytes.count else {
      throw error("the quote is never closed", line: start)
    }
    position += 1
    line += newLines
    if position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0d, 0x0a, UInt8(ascii: ";"), UInt8(ascii: "{"), UInt8(ascii: ")"): break
      default:
        let found = String(escapingControlsIn: [bytes[position]])
        throw error("unexpected \"\(found)\" behind a closing quote")
      }
    }
    return String(decoding: word, as: UTF8.self)
  }

  /// A backslash and the byte behind it: quotes and backslashes lose it, `\t`, `\r`, `\n` are
  /// controls, before anything else it stays.
  private mutating func takeEscaped(into word: inout [UInt8]) {
    position += 1
    guard position < bytes.count else {
      word.append(UInt8(ascii: "\\"))
      return
    }
    let byte = bytes[position]
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"): word.append(byte)
    case UInt8(ascii: "t"): word.append(0x09)
    case UInt8(ascii: "r"): word.append(0x0d)
    case UInt8(ascii: "n"): word.append(0x0a)
    default:
      if byte == 0x0a { line += 1 }
      word += [UInt8(ascii: "\\"), byte]
    }
    position += 1
  }

  /// Skips Lua behind its opening brace, to the brace that closes it.
  mutating func skipLua() throws {
    let start = line
    var depth = 1
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case 0x0a: line += 1
      case UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "}"):
        depth -= 1
        if depth == 0 { return }
      case UInt8(ascii: "\""), UInt8(ascii: "'"): skipLuaString(byte)
      case UInt8(ascii: "-") where at("-"):
        position += 1
        if at("["), skipLongBracket() { continue }
        while position < bytes.count, bytes[position] != 0x0a { position += 1 }
      case UInt8(ascii: "["):
        position -= 1
        if !skipLongBracket() { position += 1 }
      default: break
      }
    }
    throw error("the block of Lua is never closed", line: start)
  }

  private func at(_ character: Unicode.Scalar) -> Bool {
    position < bytes.count && UInt32(bytes[position]) == character.value
  }

  private mutating func skipLuaString(_ quote: UInt8) {
    while position < bytes.count, bytes[position] != quote {
      if bytes[position] == UInt8(ascii: "\\") { position += 1 }
      if position < bytes.count, bytes[position] == 0x0a { line += 1 }
      position += 1
    }
    position += 1
  }

  /// `[[ ... ]]`, `[=[ ... ]=]` and so on, at the first bracket.
  private mutating func skipLongBracket() -> Bool {
    var behind = position + 1
    var level = 0
    while behind < bytes.count, bytes[behind] == UInt8(ascii: "=") {
      level += 1
      behind += 1
    }
    guard behind < bytes.count, bytes[behind] == UInt8(ascii: "[") else { return false }
    let end =
      [UInt8(ascii: "]")] + Array(repeating: UInt8(ascii: "="), count: level) + [UInt8(ascii: "]")]
    position = behind + 1
    while position < bytes.count {
      if bytes[position...].starts(with: end) {
        position += end.count
        return true
      }
      if bytes[position] == 0x0a { line += 1 }
      position += 1
    }
    return true
  }
}
