/// How the fields of one event lie in its record: what `events/GROUP/NAME/format` says. Offsets differ
/// between kernels and are never assumed.
struct TraceFormat: Equatable {
  struct Field: Equatable {
    var offset: Int
    var size: Int
    /// The declaration, as `__u16 sport` or `__data_loc char[] comm`.
    var declaration: String
  }

  var id: UInt16
  var fields: [String: Field]
  /// The names of an enumeration's values, as the format's own text gives them for printing.
  var print: Substring

  /// - Returns: nil for what is no such text.
  init?(_ text: String) {
    var id: UInt16?
    fields = [:]
    var print: Substring = ""
    for line in text.split(separator: "\n") {
      if line.hasPrefix("ID:") {
        id = UInt16(line.dropFirst(3).drop { $0 == " " })
      } else if line.hasPrefix("print fmt:") {
        print = line
      } else if let (name, field) = Self.field(line) {
        fields[name] = field
      }
    }
    guard let id, !fields.isEmpty else { return nil }
    self.id = id
    self.print = print
  }

  /// `field:__u16 sport;	offset:24;	size:2;	signed:0;`
  static func field(_ line: Substring) -> (name: String, Field)? {
    let parts = line.split(separator: ";").map { $0.drop { $0 == " " || $0 == "\t" } }
    guard let declaration = parts.first, declaration.hasPrefix("field:"),
      let offset = number(after: "offset:", in: parts), let size = number(after: "size:", in: parts)
    else { return nil }
    var words = declaration.dropFirst(6)
    let whole = String(words.drop { $0 == " " })
    // `__u8 saddr[4]` has its bounds behind the name, `__data_loc char[] comm` before it.
    if words.last == "]", let bracket = words.lastIndex(of: "[") { words = words[..<bracket] }
    guard let name = words.split(separator: " ").last?.drop(while: { $0 == "*" }), !name.isEmpty
    else { return nil }
    return (String(name), Field(offset: offset, size: size, declaration: whole))
  }

  private static func number(after label: String, in parts: [Substring]) -> Int? {
    guard let part = parts.first(where: { $0.hasPrefix(label) }),
      let value = Int(part.dropFirst(label.count)), (0..<65_536).contains(value)
    else { return nil }
    return value
  }

  /// The names of a field's values where the text prints them: `{ 11, "TCP_ABORT_ON_CLOSE" }`.
  func names(of field: String) -> [Int: String] {
    guard let start = print.firstRange(of: "__print_symbolic(REC->\(field),") else { return [:] }
    var names: [Int: String] = [:]
    for entry in print[start.upperBound...].split(separator: "{").dropFirst() {
      guard let end = entry.firstIndex(of: "}") else { break }
      let parts = entry[..<end].split(separator: ",", maxSplits: 1)
      if parts.count == 2, let value = Int(parts[0].filter { $0 != " " }) {
        names[value] = String(parts[1].filter { $0 != " " && $0 != "\"" })
      }
      // The list ends with its first closing parenthesis.
      if entry[end...].dropFirst().first == ")" { break }
    }
    return names
  }
}

extension Substring {
  /// Where a text first occurs.
  fileprivate func firstRange(of text: String) -> Range<Index>? {
    let wanted = Array(text.utf8)
    let bytes = self.utf8
    var start = bytes.startIndex
    while start != bytes.endIndex {
      let rest = bytes[start...]
      if rest.starts(with: wanted) {
        return start..<bytes.index(start, offsetBy: wanted.count)
      }
      start = bytes.index(after: start)
    }
    return nil
  }
}

/// How a page of the ring buffer begins: what `events/header_page` says.
struct TracePageLayout: Equatable {
  var timestamp: Int
  var commit: Int
  var commitSize: Int
  var data: Int
  /// Of the whole page.
  var size: Int

  init?(_ text: String) {
    var fields: [String: TraceFormat.Field] = [:]
    for line in text.split(separator: "\n") {
      let trimmed = line.drop { $0 == "\t" || $0 == " " }
      if let (name, field) = TraceFormat.field(trimmed) { fields[name] = field }
    }
    guard let timestamp = fields["timestamp"], let commit = fields["commit"],
      let data = fields["data"], timestamp.size == 8, commit.size == 8 || commit.size == 4
    else { return nil }
    self.timestamp = timestamp.offset
    self.commit = commit.offset
    commitSize = commit.size
    self.data = data.offset
    size = data.offset + data.size
  }
}
