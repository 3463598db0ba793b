/// Finds the fields of one line by a compiled `log_format`.
///
/// Each value ends at the first place where the literal text behind it stands. With `escape=default`
/// (and `json`) a quote within a value is escaped, so a quoted value cannot forge what follows; an
/// unquoted list of tries may hold the space that ends it, and is read by its own separators.
struct AccessLogScanner {
  private struct Step {
    /// Where the value's range is kept; -1: it is passed over.
    var field: Int
    /// What ends it, in `literals`; empty: the end of the line.
    var end: Range<Int>
    var firstByte: UInt8
    /// Its first eight bytes as one number, those that it has not masked out.
    var word: UInt64
    var mask: UInt64
    /// Values of several tries, not quoted or in brackets.
    var isOpenList: Bool
  }

  /// Ranges found, two numbers a field; those of fields that the format lacks stay (-1, -1).
  private(set) var ranges = [Int32](repeating: -1, count: AccessField.allCases.count * 2)
  private let prefix: [UInt8]
  private var steps: [Step] = []
  /// The bytes of all literal texts, one behind the other.
  private var literals: [UInt8] = []
  private let isJSON: Bool
  let fields: Set<AccessField>

  /// Nil when two variables stand side by side and no text tells where one ends.
  init?(_ format: AccessLogFormat) {
    isJSON = format.escape == .json
    var elements = format.elements[...]
    if case .literal(let text)? = elements.first {
      prefix = text
      elements = elements.dropFirst()
    } else {
      prefix = []
    }
    var fields: Set<AccessField> = []
    while case .variable(let name)? = elements.first {
      elements = elements.dropFirst()
      var end: [UInt8] = []
      if case .literal(let text)? = elements.first {
        end = text
        elements = elements.dropFirst()
      } else if !elements.isEmpty {
        return nil
      }
      let field = AccessField(name)
      if let field { fields.insert(field) }
      let isList = AccessField.isPerTry(name) && (end.first == 0x20 || end.first == 0x2c)
      let start = literals.count
      literals += end
      let shift = UInt64(64 - min(end.count, 8) * 8)
      steps.append(
        Step(
          field: field?.rawValue ?? -1, end: start..<literals.count,
          firstByte: end.first ?? 0,
          word: end.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) },
          mask: end.isEmpty ? 0 : UInt64.max >> shift, isOpenList: isList))
    }
    // What stands behind the last field that is read needs no look.
    while let last = steps.last, last.field < 0 { steps.removeLast() }
    self.fields = fields
  }

  subscript(field: AccessField) -> Range<Int>? {
    let start = ranges[field.rawValue * 2]
    return start < 0 ? nil : Int(start)..<Int(ranges[field.rawValue * 2 + 1])
  }

  /// Reads a line.
  /// - Returns: false when it is not of this format; then the ranges mean nothing.
  mutating func scan(_ line: UnsafeBufferPointer<UInt8>) -> Bool {
    guard let base = line.baseAddress, line.count < Int(Int32.max) else { return false }
    let count = line.count
    guard count >= prefix.count else { return false }
    for index in 0..<prefix.count where base[index] != prefix[index] { return false }
    var position = prefix.count
    let isJSON = isJSON
    return literals.withUnsafeBufferPointer { literals in
      ranges.withUnsafeMutableBufferPointer { ranges in
        for step in steps {
          let start = position
          let text = UnsafeBufferPointer(rebasing: literals[step.end])
          let end =
            text.isEmpty ? count : Self.find(text, step, base, count, from: start, isJSON)
          guard end >= 0 else { return false }
          if step.field >= 0 {
            ranges[step.field * 2] = Int32(truncatingIfNeeded: start)
            ranges[step.field * 2 + 1] = Int32(truncatingIfNeeded: end)
          }
          position = end + text.count
        }
        return true
      }
    }
  }

  /// Where a text next stands; -1 when nowhere.
  @inline(__always)
  private static func find(
    _ text: UnsafeBufferPointer<UInt8>, _ step: Step, _ base: UnsafePointer<UInt8>, _ count: Int,
    from start: Int, _ isJSON: Bool
  ) -> Int {
    var position = start
    while true {
      position = firstByte(step.firstByte, base, count, from: position)
      guard position < count else { return -1 }
      if stands(text, step, base, count, at: position) {
        if isJSON, base[position] == 0x22, isEscaped(base, position, from: start) {
          // Part of the value.
        } else if step.isOpenList, goesOn(base, count, position, from: start) {
          // Behind `, ` or ` : ` comes another try.
          if base[position] == 0x20, position > start, base[position - 1] != 0x2c { position += 2 }
        } else {
          return position
        }
      }
      position += 1
    }
  }

  /// Whether a text whose first byte stands here stands here as a whole.
  @inline(__always)
  private static func stands(
    _ text: UnsafeBufferPointer<UInt8>, _ step: Step, _ base: UnsafePointer<UInt8>, _ count: Int,
    at position: Int
  ) -> Bool {
    if position + 8 <= count {
      guard Word.at(base, position) & step.mask == step.word else { return false }
      if text.count <= 8 { return true }
    }
    guard position + text.count <= count else { return false }
    for index in 0..<text.count where base[position + index] != text[index] { return false }
    return true
  }

  /// Whether a list of tries has another one behind this space or comma.
  private static func goesOn(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ position: Int, from start: Int
  ) -> Bool {
    if base[position] == 0x2c { return position + 1 < count && base[position + 1] == 0x20 }
    if position > start, base[position - 1] == 0x2c { return true }
    return position + 2 < count && base[position + 1] == 0x3a && base[position + 2] == 0x20
  }

  private static func isEscaped(_ base: UnsafePointer<UInt8>, _ position: Int, from start: Int)
    -> Bool
  {
    var slashes = 0
    while position - slashes > start, base[position - slashes - 1] == 0x5c { slashes += 1 }
    return slashes % 2 == 1
  }

  /// The next such byte, or `count`. Values are short: sixteen bytes at a time, in place, beat a call
  /// of memchr.
  @inline(__always)
  private static func firstByte(
    _ byte: UInt8, _ base: UnsafePointer<UInt8>, _ count: Int, from start: Int
  ) -> Int {
    let pattern = SIMD16<UInt8>(repeating: byte)
    var position = start
    while position + 16 <= count {
      let bytes = UnsafeRawPointer(base + position).loadUnaligned(as: SIMD16<UInt8>.self)
      // All bits of a lane are set where the bytes are equal.
      let equal = unsafeBitCast(bytes .== pattern, to: SIMD2<UInt64>.self)
      if equal[0] | equal[1] != 0 {
        let low = equal[0].littleEndian.trailingZeroBitCount >> 3
        return position + (low < 8 ? low : 8 + equal[1].littleEndian.trailingZeroBitCount >> 3)
      }
      position += 16
    }
    while position < count, base[position] != byte { position += 1 }
    return position
  }
}
