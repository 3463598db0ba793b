import LinuxHost

/// One record of `/dev/kmsg`, as Documentation/ABI/testing/dev-kmsg describes it.
struct KmsgRecord: Equatable {
  /// syslog level, 0 (emergency) to 7 (debug).
  var level: UInt8
  /// syslog facility; 0 is the kernel itself, all else was written by a program.
  var facility: UInt32
  var sequence: UInt64
  /// Microseconds of the kernel's local clock, which no one disciplines.
  var microseconds: UInt64
  /// The text goes on where the record before it stopped: `+`, or `c` since Linux 4.9 (there `c`
  /// marks every fragment; before it, only the first one, which has nothing to go on from).
  var isFragment: Bool
  /// The message with the kernel's `\xHH` escapes undone.
  var text: [UInt8]
}

extension KmsgRecord {
  /// Reads one record, up to its dictionary lines (which begin with a space).
  /// - Parameter line: without its newline.
  init?(line: ArraySlice<UInt8>) {
    guard let semicolon = line.firstIndex(of: UInt8(ascii: ";")) else { return nil }
    let fields = line[..<semicolon].split(
      separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard fields.count >= 4, let priority = decimal(fields[0]), let sequence = decimal(fields[1]),
      let microseconds = decimal(fields[2]), priority <= 0xffff
    else { return nil }
    level = UInt8(priority & 7)
    facility = UInt32(priority >> 3)
    self.sequence = sequence
    self.microseconds = microseconds
    isFragment = fields[3].first == UInt8(ascii: "+") || fields[3].first == UInt8(ascii: "c")
    text = Self.unescaped(line[(semicolon + 1)...])
  }

  /// The records in what one `read` gave: a single one from the device, several from a file that was
  /// copied from it.
  /// - Returns: the records, and how many lines were none.
  static func records(in bytes: ArraySlice<UInt8>) -> (records: [KmsgRecord], malformed: Int) {
    var records: [KmsgRecord] = []
    var malformed = 0
    for line in bytes.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: " ") {
      if let record = KmsgRecord(line: line) { records.append(record) } else { malformed += 1 }
    }
    return (records, malformed)
  }

  private static func unescaped(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    guard bytes.contains(UInt8(ascii: "\\")) else { return Array(bytes) }
    var result: [UInt8] = []
    var index = bytes.startIndex
    while index < bytes.endIndex {
      if bytes[index] == UInt8(ascii: "\\"), bytes.endIndex - index >= 4,
        bytes[index + 1] == UInt8(ascii: "x"), let high = hexDigit(bytes[index + 2]),
        let low = hexDigit(bytes[index + 3])
      {
        result.append(high << 4 | low)
        index += 4
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return result
  }
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case 48...57: byte - 48
  case 65...70: byte - 55
  case 97...102: byte - 87
  default: nil
  }
}
