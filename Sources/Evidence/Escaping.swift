extension String {
  /// Text from outside, safe to print: bytes below 0x20, DEL, invalid UTF-8 and the C1 controls are
  /// written as `\xHH`, so that a log line can neither move a terminal's cursor nor forge a line.
  public init(escapingControlsIn bytes: some Sequence<UInt8>) {
    let bytes = Array(bytes)
    if bytes.allSatisfy({ (0x20..<0x7f).contains($0) }) {
      self.init(decoding: bytes, as: UTF8.self)
      return
    }
    var text = ""
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var position = 0
    decoding: while true {
      switch decoder.decode(&iterator) {
      case .scalarValue(let scalar):
        let width = UTF8.width(scalar)
        if scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) || scalar.isBidiControl {
          for byte in bytes[position..<position + width] { text += Self.hex(byte) }
        } else {
          text.unicodeScalars.append(scalar)
        }
        position += width
      case .emptyInput:
        break decoding
      case .error:
        // Escape one byte and start again behind it.
        text += Self.hex(bytes[position])
        position += 1
        decoder = UTF8()
        iterator = Array(bytes[position...]).makeIterator()
      }
    }
    self = text
  }

  private static func hex(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
  }
}

extension Unicode.Scalar {
  /// Characters that reorder the text around them (UAX #9), and the line separators.
  fileprivate var isBidiControl: Bool {
    switch value {
    case 0x200e, 0x200f, 0x2028, 0x2029, 0x202a...0x202e, 0x2066...0x2069: true
    default: false
    }
  }
}
