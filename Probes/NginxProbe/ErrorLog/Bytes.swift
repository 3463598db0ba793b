import Evidence
import Glibc

// Log lines are looked at as bytes: a String is made only of what is kept.
extension Span where Element == UInt8 {
  /// Whether these bytes stand at `offset`. Inlined, so that a short text is compared as a number.
  @inline(__always)
  func has(_ text: StaticString, at offset: Int) -> Bool {
    let length = text.utf8CodeUnitCount
    guard offset >= 0, offset <= count - length else { return false }
    return withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return length == 0 }
      if length > 0, base[offset] != text.utf8Start.pointee { return false }
      return memcmp(base + offset, text.utf8Start, length) == 0
    }
  }

  /// The first position in `range` at which all of `text` stands, ending within it.
  func first(_ text: StaticString, in range: Range<Int>) -> Int? {
    let length = text.utf8CodeUnitCount
    guard length > 0 else { return nil }
    let byte = text.utf8Start.pointee
    var position = range.lowerBound
    while let found = first(byte, in: position..<range.upperBound) {
      if found + length > range.upperBound { return nil }
      if has(text, at: found) { return found }
      position = found + 1
    }
    return nil
  }

  /// The last such position.
  func last(_ text: StaticString, in range: Range<Int>) -> Int? {
    guard text.utf8CodeUnitCount > 0, range.upperBound <= count else { return nil }
    let byte = text.utf8Start.pointee
    var position = range.upperBound - text.utf8CodeUnitCount
    while position >= range.lowerBound {
      if self[position] == byte, has(text, at: position) { return position }
      position -= 1
    }
    return nil
  }

  func first(_ byte: UInt8, in range: Range<Int>) -> Int? {
    guard range.lowerBound >= 0, range.upperBound <= count, !range.isEmpty else { return nil }
    return withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress,
        let found = memchr(base + range.lowerBound, Int32(byte), range.count)
      else { return nil }
      return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }
  }

  /// The number whose digits start at `position`, which is moved behind them; nil without a digit,
  /// and when it does not fit 63 bits.
  func number(at position: inout Int) -> Int? {
    let start = position
    var value = 0
    while position < count, case let digit = self[position] &- 48, digit < 10 {
      let (product, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, over2) = product.addingReportingOverflow(Int(digit))
      if over || over2 { return nil }
      value = sum
      position += 1
    }
    return position > start ? value : nil
  }

  /// These bytes as text that is safe to print.
  func text(_ range: Range<Int>) -> String {
    extracting(range).withUnsafeBufferPointer { buffer in
      // Nearly all text is this, and needs no escaping.
      buffer.allSatisfy { (0x20..<0x7f).contains($0) }
        ? String(decoding: buffer, as: UTF8.self) : String(escapingControlsIn: buffer)
    }
  }
}
