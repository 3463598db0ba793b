import Glibc

/// Plain searching in lines that are ASCII but for names in them. Regular expressions would cost
/// 1.4 MB in the program and a page of type annotations here.
extension Substring {
  /// Where `text` begins, the first or the last time.
  public func position(of text: StaticString, last: Bool = false) -> Index? {
    let needle = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    let bytes = utf8
    guard let first = needle.first, bytes.count >= needle.count else { return nil }
    var found: Index?
    var index = bytes.startIndex
    while let start = bytes[index...].firstIndex(of: first) {
      if bytes[start...].starts(with: needle) {
        if !last { return start }
        found = start
      }
      index = bytes.index(after: start)
    }
    return found
  }

  /// What follows `text`, the first or the last time it occurs.
  public func after(_ text: StaticString, last: Bool = false) -> Substring? {
    position(of: text, last: last).map {
      self[utf8.index($0, offsetBy: text.utf8CodeUnitCount)...]
    }
  }

  /// What precedes `text`, the first or the last time it occurs.
  public func before(_ text: StaticString, last: Bool = false) -> Substring? {
    position(of: text, last: last).map { self[..<$0] }
  }

  public func begins(with text: StaticString) -> Bool {
    utf8.starts(with: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  public func contains(text: StaticString) -> Bool { position(of: text) != nil }

  /// The number with which it begins, and the rest.
  public func leadingNumber() -> (value: UInt64, rest: Substring)? {
    let digits = utf8.prefix { (48...57).contains($0) }
    guard let value = decimal(digits) else { return nil }
    return (value, self[digits.endIndex...])
  }

  /// Reads `name[123`, as the kernel writes the process before the closing bracket.
  public func processBeforeBracket() -> (command: String, pid: Int32)? {
    guard let bracket = utf8.lastIndex(of: UInt8(ascii: "[")),
      let value = decimal(utf8[utf8.index(after: bracket)...]), let pid = Int32(exactly: value)
    else { return nil }
    return (String(self[..<bracket]), pid)
  }
}

/// Whether `text` stands anywhere in the bytes.
public func occurs(_ text: StaticString, in bytes: UnsafeRawBufferPointer) -> Bool {
  let count = text.utf8CodeUnitCount
  guard count > 0, let base = bytes.baseAddress else { return false }
  var offset = 0
  while bytes.count - offset >= count {
    guard
      let hit = memchr(
        base + offset, Int32(text.utf8Start.pointee), bytes.count - offset - count + 1)
    else { return false }
    if memcmp(hit, text.utf8Start, count) == 0 { return true }
    offset = UnsafeRawPointer(hit) - base + 1
  }
  return false
}

/// A decimal number without a sign, or nil.
public func decimal(_ digits: some Collection<UInt8>) -> UInt64? {
  guard !digits.isEmpty else { return nil }
  var value: UInt64 = 0
  for byte in digits {
    guard (48...57).contains(byte) else { return nil }
    let (product, overflow) = value.multipliedReportingOverflow(by: 10)
    let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 48))
    guard !overflow, !carry else { return nil }
    value = sum
  }
  return value
}
