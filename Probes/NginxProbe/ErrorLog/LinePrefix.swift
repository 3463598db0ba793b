import Evidence

/// What is put before nginx's own words when its standard error goes through something else:
/// `docker logs -t`, the files of Docker (JSON) and of Kubernetes' runtimes, `docker compose logs`,
/// `journalctl`.
///
/// Which it is is decided by the first lines, once: where a log starts with entries of nginx, nothing
/// is ever taken off, so no request can make a line look like another's.
struct LinePrefix {
  private enum Kind {
    case none
    /// Anything before nginx's time stamp.
    case text
    /// A JSON object a line, nginx's words in `log`.
    case json
  }

  /// Bytes in which an entry's start is looked for.
  private static let longest = 200

  private let kind: Kind
  private var rest: [UInt8] = []

  var isNone: Bool { kind == .none }

  /// - Parameter block: the first bytes of a log.
  init(firstBlock block: ArraySlice<UInt8>) {
    let lines = block.split(separator: 10).prefix(20)
    if lines.isEmpty || lines.contains(where: { EntryHeader.startsEntry(Array($0).span) }) {
      kind = .none
    } else if lines.contains(where: { Self.jsonValue($0).map { Self.start($0[...]) == 0 } ?? false }
    ) {
      kind = .json
    } else {
      kind = lines.contains { Self.start($0) != nil } ? .text : .none
    }
  }

  /// Nil when the block has no entry of nginx at all, by which to decide.
  init?(deciding block: ArraySlice<UInt8>) {
    self.init(firstBlock: block)
    let hasEntry = block.split(separator: 10).contains {
      EntryHeader.startsEntry(Array($0).span)
    }
    if isNone, !hasEntry { return nil }
  }

  /// The same bytes without what was put before each line; a line that is not whole yet is kept back.
  mutating func strip(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    rest += bytes
    guard let last = rest.lastIndex(of: 10) else {
      // No line is that long.
      if rest.count > 64 << 10 { rest.removeAll() }
      return []
    }
    var result: [UInt8] = []
    for line in rest[..<last].split(separator: 10) { append(line, to: &result) }
    rest.removeFirst(last + 1)
    return result
  }

  mutating func finish() -> [UInt8] {
    guard !rest.isEmpty else { return [] }
    var result: [UInt8] = []
    append(rest[...], to: &result)
    rest = []
    return result
  }

  private func append(_ line: ArraySlice<UInt8>, to result: inout [UInt8]) {
    switch kind {
    case .none: result += line
    case .text: result += line[(Self.start(line) ?? line.startIndex)...]
    case .json:
      guard let value = Self.jsonValue(line) else { return }
      result += value
      if value.last == 10 { return }
    }
    result.append(10)
  }

  /// Where nginx's time stamp and level stand.
  private static func start(_ line: ArraySlice<UInt8>) -> Int? {
    let end = min(line.endIndex, line.startIndex + longest)
    var position = line.startIndex
    while position < end, line.endIndex - position > CivilTime.length + 2 {
      // Behind a space, a bar or a colon, or at the start.
      if position == line.startIndex || [0x20, 0x7c, 0x3a, 0x09].contains(line[position - 1]),
        line[position] &- 48 < 10, line[position + 4] == 0x2f,
        EntryHeader.startsEntry(Array(line[position...]).span)
      {
        return position
      }
      position += 1
    }
    return nil
  }

  /// The string in `"log":"..."`, its escapes undone.
  private static func jsonValue(_ line: ArraySlice<UInt8>) -> [UInt8]? {
    let key = Array("{\"log\":\"".utf8)
    guard line.starts(with: key) else { return nil }
    var value: [UInt8] = []
    var position = line.startIndex + key.count
    while position < line.endIndex {
      let byte = line[position]
      position += 1
      if byte == UInt8(ascii: "\"") { return value }
      guard byte == UInt8(ascii: "\\"), position < line.endIndex else {
        value.append(byte)
        continue
      }
      switch line[position] {
      case UInt8(ascii: "n"): value.append(10)
      case UInt8(ascii: "t"): value.append(9)
      case UInt8(ascii: "r"): value.append(13)
      case UInt8(ascii: "u"):
        let digits = String(
          decoding: line[min(position + 1, line.endIndex)..<min(position + 5, line.endIndex)],
          as: UTF8.self)
        if let scalar = UInt32(digits, radix: 16).flatMap(Unicode.Scalar.init) {
          value += Array(String(Character(scalar)).utf8)
        }
        position = min(position + 4, line.endIndex - 1)
      default: value.append(line[position])
      }
      position += 1
    }
    return nil
  }
}
