/// One page of a CPU's ring buffer, as `trace_pipe_raw` gives it (Linux kernel/trace/ring_buffer.c and
/// include/linux/ring_buffer.h).
struct TracePage {
  /// Events that were overwritten before this page; nil when some were and the kernel does not say
  /// how many.
  private(set) var lost: UInt64? = 0
  /// The page says something that no kernel writes; what lies behind it was not read.
  private(set) var isMalformed = false

  private static let missedEvents: UInt64 = 1 << 31
  private static let missedCount: UInt64 = 1 << 30

  /// Hands over each event: its time by the instance's clock, and its record.
  init(
    _ page: UnsafeRawBufferPointer, _ layout: TracePageLayout,
    _ body: (UInt64, UnsafeRawBufferPointer) -> Void
  ) {
    guard page.count >= layout.data else {
      isMalformed = true
      return
    }
    let time = page.loadUnaligned(fromByteOffset: layout.timestamp, as: UInt64.self)
    let commit =
      layout.commitSize == 8
      ? page.loadUnaligned(fromByteOffset: layout.commit, as: UInt64.self)
      : UInt64(page.loadUnaligned(fromByteOffset: layout.commit, as: UInt32.self))
    let length = Int(commit & (Self.missedCount - 1))
    let end = min(page.count, layout.data + length)
    if layout.data + length > page.count { isMalformed = true }
    if commit & Self.missedEvents != 0 {
      // The number, where there was room for it, follows the last event.
      lost = nil
      if commit & Self.missedCount != 0, end + 8 <= page.count {
        lost = page.loadUnaligned(fromByteOffset: end, as: UInt64.self)
      }
    }
    if !walk(page, from: layout.data, to: end, time, body) { isMalformed = true }
  }

  private func walk(
    _ page: UnsafeRawBufferPointer, from start: Int, to end: Int, _ time: UInt64,
    _ body: (UInt64, UnsafeRawBufferPointer) -> Void
  ) -> Bool {
    var time = time
    var offset = start
    while offset + 4 <= end {
      // type_len in the low 5 bits (little endian), time_delta in the other 27.
      let header = page.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      let (type, delta) = (Int(header & 31), UInt64(header >> 5))
      func word() -> UInt64? {
        offset + 8 <= end
          ? UInt64(page.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)) : nil
      }
      let (record, length): (Int, Int)
      switch type {
      case 1...28:
        time &+= delta
        (record, length) = (offset + 4, type * 4)
      case 0:
        guard let size = word(), size >= 4 else { return false }
        time &+= delta
        (record, length) = (offset + 8, Int(size) - 4)
      case 29:
        // Padding: the rest of the page, or an event that was thrown away.
        guard delta != 0 else { return true }
        guard let size = word(), size >= 4 else { return false }
        time &+= delta
        offset += 4 + Int(size)
        continue
      case 30:
        guard let high = word() else { return false }
        time &+= delta | high << 27
        offset += 8
        continue
      default:
        // An absolute stamp of 59 bits; the upper five are those of the time so far.
        guard let high = word() else { return false }
        time = delta | high << 27 | time & ~((1 << 59) - 1)
        offset += 8
        continue
      }
      guard record + length <= end else { return false }
      body(time, UnsafeRawBufferPointer(rebasing: page[record..<(record + length)]))
      offset = record + (length + 3) & ~3
    }
    return true
  }
}
