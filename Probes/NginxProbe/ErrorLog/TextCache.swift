import Evidence
import Glibc

/// Gives the same String for the same bytes: the words of a log repeat themselves in nearly every
/// line, and a String that is shared costs no memory and no copy.
struct TextCache {
  /// Direct-mapped: a newcomer takes the place of what was there.
  private static let slotCount = 2048
  private static let longest = 256

  private struct Slot {
    var hash: UInt64 = 0
    var text = ""
  }

  private var slots = [Slot](repeating: Slot(), count: slotCount)
  private var joined: [UInt8] = []

  /// These bytes as text that is safe to print.
  mutating func text(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
    // Shorter ones fit into the String itself.
    guard range.count > 15, range.count <= Self.longest else { return bytes.text(range) }
    return bytes.extracting(range).withUnsafeBufferPointer { text($0) }
  }

  /// The bytes of two ranges, one behind the other.
  mutating func text(_ bytes: Span<UInt8>, _ first: Range<Int>, _ second: Range<Int>) -> String {
    joined.removeAll(keepingCapacity: true)
    bytes.extracting(first).withUnsafeBufferPointer { joined.append(contentsOf: $0) }
    bytes.extracting(second).withUnsafeBufferPointer { joined.append(contentsOf: $0) }
    let whole = joined
    return text(whole.span, 0..<whole.count)
  }

  private mutating func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    let hash = hashOf(bytes)
    let index = Int(truncatingIfNeeded: hash >> 48) & (Self.slotCount - 1)
    if slots[index].hash == hash, equal(slots[index].text, bytes) { return slots[index].text }
    // What is escaped differs from its bytes, and is rare.
    guard bytes.allSatisfy({ (0x20..<0x7f).contains($0) }) else {
      return String(escapingControlsIn: bytes)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    slots[index] = Slot(hash: hash, text: text)
    return text
  }

  private func equal(_ text: String, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    text.utf8.withContiguousStorageIfAvailable { known in
      guard known.count == bytes.count, let a = known.baseAddress, let b = bytes.baseAddress else {
        return false
      }
      return memcmp(a, b, known.count) == 0
    } ?? false
  }
}

/// A hash of bytes, eight at a time; good enough for tables whose entries are compared.
@inline(__always)
func hashOf(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 {
  let count = bytes.count
  var hash = UInt64(truncatingIfNeeded: count) &* 0x9e37_79b9_7f4a_7c15
  guard let base = bytes.baseAddress.map({ UnsafeRawPointer($0) }) else { return hash }
  var position = 0
  while position + 8 <= count {
    let word = (base + position).loadUnaligned(as: UInt64.self)
    hash = (hash ^ word) &* 0x9e37_79b9_7f4a_7c15
    hash ^= hash >> 29
    position += 8
  }
  var rest: UInt64 = 0
  while position < count {
    rest = rest << 8 | UInt64(bytes[position])
    position += 1
  }
  hash = (hash ^ rest) &* 0x9e37_79b9_7f4a_7c15
  return hash ^ hash >> 32
}
