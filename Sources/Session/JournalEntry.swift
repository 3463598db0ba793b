/// An entry in systemd's Journal Export Format (systemd.io/JOURNAL_EXPORT_FORMATS): lines of
/// `NAME=value`, or, where a value holds a newline, the name, its length in eight bytes, and itself.
public struct JournalEntry {
  /// In their order; a name may come twice.
  public var fields: [(name: String, value: String)]

  public init(fields: [(name: String, value: String)] = []) { self.fields = fields }

  /// The first value of a name.
  public subscript(name: String) -> String? { fields.first { $0.name == name }?.value }

  public mutating func add(_ name: String, _ value: String) { fields.append((name, value)) }

  /// As it is exported, with the newline at the end of the last field.
  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in fields {
      bytes += name.utf8
      if value.utf8.contains(UInt8(ascii: "\n")) {
        bytes.append(UInt8(ascii: "\n"))
        withUnsafeBytes(of: UInt64(value.utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
      } else {
        bytes.append(UInt8(ascii: "="))
      }
      bytes += value.utf8
      bytes.append(UInt8(ascii: "\n"))
    }
    return bytes
  }

  /// Reads an entry; what follows a damaged field is left out.
  public init(_ bytes: UnsafeRawBufferPointer) {
    fields = []
    var position = 0
    while position < bytes.count, bytes[position] != 0 {
      let rest = bytes[position...]
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return }
      let line = rest[position..<end]
      position = end + 1
      if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
        fields.append(
          (
            String(decoding: line[..<equals], as: UTF8.self),
            String(decoding: line[(equals + 1)...], as: UTF8.self)
          ))
      } else if !line.isEmpty {
        guard position + 8 <= bytes.count else { return }
        let length = UInt64(
          littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
        position += 8
        guard length <= UInt64(bytes.count - position) else { return }
        fields.append(
          (
            String(decoding: line, as: UTF8.self),
            String(decoding: bytes[position..<position + Int(length)], as: UTF8.self)
          ))
        position += Int(length) + 1
      }
    }
  }
}
