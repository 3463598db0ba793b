import Evidence

/// Writes a flat JSON object into memory that is known to hold it.
struct JSONLine {
  private var next: UnsafeMutablePointer<UInt8>
  private var isFirst = true

  /// Appends what `body` writes.
  /// - Parameter most: what it writes at most, in bytes.
  static func append(to bytes: inout [UInt8], atMost most: Int, _ body: (inout JSONLine) -> Void) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: most) { room in
      guard let start = room.baseAddress else { return }
      var line = JSONLine(next: start)
      body(&line)
      bytes.append(contentsOf: UnsafeBufferPointer(start: start, count: line.next - start))
    }
  }

  private init(next: UnsafeMutablePointer<UInt8>) { self.next = next }

  mutating func begin() {
    put(0x7b)
    isFirst = true
  }

  mutating func end() {
    put(0x7d)
    put(0x0a)
  }

  @inline(__always)
  private mutating func put(_ byte: UInt8) {
    next.initialize(to: byte)
    next += 1
  }

  private mutating func put(_ text: StaticString) {
    next.update(from: text.utf8Start, count: text.utf8CodeUnitCount)
    next += text.utf8CodeUnitCount
  }

  private mutating func name(_ name: StaticString) {
    if !isFirst { put(0x2c) }
    isFirst = false
    put(0x22)
    put(name)
    put(0x22)
    put(0x3a)
  }

  mutating func number(_ name: StaticString, _ value: UInt64?) {
    self.name(name)
    if let value { decimal(value) } else { put("null") }
  }

  mutating func bool(_ name: StaticString, _ value: Bool) {
    self.name(name)
    put(value ? "true" : "false")
  }

  /// A word that needs no escaping.
  mutating func word(_ name: StaticString, _ value: String?) {
    self.name(name)
    guard let value else { return put("null") }
    put(0x22)
    var text = value
    text.withUTF8 { bytes in
      if let start = bytes.baseAddress { next.update(from: start, count: bytes.count) }
      next += bytes.count
    }
    put(0x22)
  }

  mutating func text(_ name: StaticString, _ value: String?) {
    self.name(name)
    if let value { quoted(value) } else { put("null") }
  }

  mutating func texts(_ name: StaticString, _ values: [String]) {
    self.name(name)
    put(0x5b)
    for (index, value) in values.enumerated() {
      if index > 0 { put(0x2c) }
      quoted(value)
    }
    put(0x5d)
  }

  private mutating func quoted(_ value: String) {
    put(0x22)
    for byte in value.utf8 {
      switch byte {
      case 0x22, 0x5c:
        put(0x5c)
        put(byte)
      case 0..<0x20:
        put("\\u00")
        put(hexDigit(byte >> 4))
        put(hexDigit(byte & 15))
      default: put(byte)
      }
    }
    put(0x22)
  }

  mutating func time(_ name: StaticString, _ value: Timestamp) {
    self.name(name)
    seconds(value.nanoseconds, decimals: 9)
  }

  /// Six decimals, or nine where they differ.
  mutating func span(_ name: StaticString, _ value: TimeSpan?) {
    self.name(name)
    guard let value else { return put("null") }
    seconds(value.nanoseconds, decimals: value.nanoseconds % 1000 == 0 ? 6 : 9)
  }

  mutating func address(_ name: StaticString, _ value: IPAddress) {
    self.name(name)
    put(0x22)
    if let v4 = value.v4 {
      for shift in [24, 16, 8, 0] as [UInt32] {
        decimal(UInt64(v4 >> shift & 255))
        if shift > 0 { put(0x2e) }
      }
    } else {
      six(value)
    }
    put(0x22)
  }

  /// RFC 5952, as `IPAddress.description`.
  private mutating func six(_ address: IPAddress) {
    func group(_ index: Int) -> UInt64 {
      (index < 4 ? address.high : address.low) >> UInt64(48 - index % 4 * 16) & 0xffff
    }
    // The longest run of two or more zero groups, the first of equals.
    var longest = (start: 8, count: 1)
    var index = 0
    while index < 8 {
      var end = index
      while end < 8, group(end) == 0 { end += 1 }
      if end - index > longest.count { longest = (index, end - index) }
      index = max(end, index + 1)
    }
    index = 0
    while index < 8 {
      if index == longest.start {
        put("::")
        index += longest.count
        continue
      }
      if index > 0, index != longest.start + longest.count { put(0x3a) }
      let value = group(index)
      var shift: UInt64 = value > 0xfff ? 12 : value > 0xff ? 8 : value > 0xf ? 4 : 0
      while true {
        put(hexDigit(UInt8(truncatingIfNeeded: value >> shift & 15)))
        if shift == 0 { break }
        shift -= 4
      }
      index += 1
    }
  }

  private mutating func seconds(_ nanoseconds: Int64, decimals: Int) {
    if nanoseconds < 0 { put(0x2d) }
    let magnitude = nanoseconds.magnitude
    decimal(magnitude / 1_000_000_000)
    put(0x2e)
    var rest = magnitude % 1_000_000_000
    if decimals == 6 { rest /= 1000 }
    digits(rest, decimals)
  }

  private mutating func decimal(_ value: UInt64) {
    var count = 1
    var limit: UInt64 = 10
    while value >= limit, count < 20 {
      count += 1
      limit = count < 20 ? limit * 10 : .max
    }
    digits(value, count)
  }

  /// Exactly `count` digits, with leading zeros.
  @inline(__always)
  private mutating func digits(_ value: UInt64, _ count: Int) {
    var rest = value
    var position = count
    while position > 0 {
      position -= 1
      let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
      (next + position).initialize(to: 0x30 + UInt8(truncatingIfNeeded: digit))
      rest = quotient
    }
    next += count
  }

  private func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}
