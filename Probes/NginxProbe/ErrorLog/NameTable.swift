import Glibc

/// Numbers names from 0 on, by their bytes: a log names the same few again and again.
struct NameTable {
  /// More upstreams than any configuration has.
  static let limit = 4096
  private static let mask = 4 * limit - 1

  private var slots = [Int32](repeating: -1, count: mask + 1)
  private var hashes: [UInt64] = []
  /// All names, one behind the other, and where each ends.
  private var bytes: [UInt8] = []
  private var ends: [Int] = []

  var count: Int { ends.count }

  subscript(number: Int) -> ArraySlice<UInt8> {
    bytes[(number == 0 ? 0 : ends[number - 1])..<ends[number]]
  }

  /// The number of a name, a new one for a new name; nil when there are too many.
  mutating func number(of name: UnsafeBufferPointer<UInt8>) -> Int? {
    let hash = hashOf(name)
    var slot = Int(truncatingIfNeeded: hash >> 32) & Self.mask
    while case let number = Int(slots[slot]), number >= 0 {
      if hashes[number] == hash, isNamed(number, name) { return number }
      slot = (slot + 1) & Self.mask
    }
    guard count < Self.limit else { return nil }
    slots[slot] = Int32(count)
    hashes.append(hash)
    bytes.append(contentsOf: name)
    ends.append(bytes.count)
    return count - 1
  }

  private func isNamed(_ number: Int, _ name: UnsafeBufferPointer<UInt8>) -> Bool {
    let start = number == 0 ? 0 : ends[number - 1]
    guard ends[number] - start == name.count else { return false }
    return bytes.withUnsafeBufferPointer { bytes in
      guard let known = bytes.baseAddress, let other = name.baseAddress else { return true }
      return memcmp(known + start, other, name.count) == 0
    }
  }
}
