/// An IPv4 or IPv6 address. IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), so that
/// both compare and hash alike; a mapped address on the wire therefore *is* its IPv4 address.
public struct IPAddress: Hashable, Comparable, Sendable {
  /// The first eight bytes, most significant first.
  public var high: UInt64
  /// The last eight bytes.
  public var low: UInt64

  @inlinable
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// - Parameter v4: the address as a number, `0x7f000001` for 127.0.0.1.
  @inlinable
  public init(v4: UInt32) {
    high = 0
    low = 0xffff_0000_0000 | UInt64(v4)
  }

  /// Whether it is an IPv4 address (or one mapped into IPv6).
  @inlinable
  public var isV4: Bool { high == 0 && low >> 32 == 0xffff }

  /// The IPv4 address as a number, where it is one.
  public var v4: UInt32? { isV4 ? UInt32(truncatingIfNeeded: low) : nil }

  /// 127.0.0.0/8 or ::1.
  public var isLoopback: Bool {
    isV4 ? UInt8(truncatingIfNeeded: low >> 24) == 127 : high == 0 && low == 1
  }

  /// 0.0.0.0 or ::, which a listener uses for "every address".
  public var isUnspecified: Bool { high == 0 && (low == 0 || low == 0xffff_0000_0000) }

  public static func < (a: Self, b: Self) -> Bool {
    a.high == b.high ? a.low < b.low : a.high < b.high
  }
}

extension IPAddress: LosslessStringConvertible {
  /// Dotted decimal, or RFC 5952 (lower case, the longest run of two or more zero groups as `::`).
  public var description: String {
    if let v4 {
      return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255)"
    }
    let groups = (0..<8).map { index in
      UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> (48 - UInt64(index % 4) * 16))
    }
    var longest = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, groups[end] == 0 { end += 1 }
      if end - start > max(1, longest.count) { longest = start..<end }
      start = max(end, start + 1)
    }
    func hex(_ range: Range<Int>) -> String {
      groups[range].map { String($0, radix: 16) }.joined(separator: ":")
    }
    guard !longest.isEmpty else { return hex(0..<8) }
    return hex(0..<longest.lowerBound) + "::" + hex(longest.upperBound..<8)
  }

  /// Reads `192.0.2.1`, `2001:db8::1`, `::ffff:192.0.2.1`; a zone (`%eth0`) or brackets are refused.
  public init?(_ text: String) {
    self.init(parsing: text[...])
  }

  public init?(parsing text: Substring) {
    if !text.contains(":") {
      guard let v4 = Self.dotted(text) else { return nil }
      self.init(v4: v4)
      return
    }
    var head: [UInt16] = []
    var tail: [UInt16] = []
    if let gap = text.firstRange(ofDoubleColon: ()) {
      guard let before = Self.groups(text[..<gap.lowerBound]),
        let after = Self.groups(text[gap.upperBound...]), before.count + after.count < 8
      else { return nil }
      (head, tail) = (before, after)
    } else {
      guard let all = Self.groups(text), all.count == 8 else { return nil }
      head = all
    }
    let groups = head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
    self.init(
      high: groups[..<4].reduce(0) { $0 << 16 | UInt64($1) },
      low: groups[4...].reduce(0) { $0 << 16 | UInt64($1) })
  }

  private static func dotted(_ text: Substring) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
        let byte = UInt8(part)
      else { return nil }
      value = value << 8 | UInt32(byte)
    }
    return value
  }

  private static func groups(_ text: Substring) -> [UInt16]? {
    guard !text.isEmpty else { return [] }
    var result: [UInt16] = []
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    for (index, part) in parts.enumerated() {
      if part.contains("."), index == parts.count - 1 {
        guard let v4 = dotted(part) else { return nil }
        result += [UInt16(v4 >> 16), UInt16(v4 & 0xffff)]
      } else {
        guard (1...4).contains(part.utf8.count), part.utf8.first != 43,
          let group = UInt16(part, radix: 16)
        else { return nil }
        result.append(group)
      }
    }
    return result
  }
}

extension IPAddress: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let address = Self(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' is not an IP address")
    }
    self = address
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

extension Substring {
  fileprivate func firstRange(ofDoubleColon: Void) -> Range<Index>? {
    var index = startIndex
    while index < endIndex {
      let next = self.index(after: index)
      if self[index] == ":", next < endIndex, self[next] == ":" {
        return index..<self.index(after: next)
      }
      index = next
    }
    return nil
  }
}
