import Evidence

/// What of each direction arrived and what is missing, without keeping a byte of it: Zeek derives its
/// letter `g`, and when a close is complete, from its reassembler (`TCP_Reassembler.cc`,
/// `Reassem.cc`). All numbers are relative to the side's start; its data begins at 1.
extension Tracker {
  /// Zeek's `tcp_max_initial_window` and `tcp_max_above_hole_without_any_acks`.
  private static var initialWindow: UInt64 { 16384 }
  /// Zeek's `tcp_excessive_data_without_further_acks`.
  static var mostUnacknowledged: UInt64 { 10 << 20 }
  /// Ranges beyond holes that are kept a direction.
  private static var mostRanges: Int { 256 }

  /// Data was sent (`TCP_Reassembler::DataSent`).
  @inline(__always)
  mutating func arrived(
    _ number: UInt32, _ isOriginator: Bool, _ start: UInt64, _ length: UInt32
  ) {
    let side = sides(number, isOriginator).sender
    if side.pointee.marks.contains(.skipping) { return }
    let upper = start &+ UInt64(length)
    let acknowledged = side.acknowledgedEnd
    var lower = start
    if lower < acknowledged {
      if upper <= acknowledged { return }
      lower = acknowledged
    }
    let before = side.delivered
    if upper > side.trimmed {
      if side.rest.pointee.ranges == 0, lower <= before {
        if before < upper { side.delivered = upper }
      } else {
        insert(side, lower, upper)
      }
    }
    if side.isUnacknowledged {
      if side.delivered != before, size(number, isOriginator) > Self.initialWindow {
        // Nobody acknowledges: the other direction is not in the capture.
        if side.trimmed < side.delivered {
          side.trimmed = side.delivered
        }
      }
      if let highest = highestRange(side), highest &- side.delivered > Self.initialWindow {
        giveUp(side)
      }
    }
    if side.delivered > side.trimmed &+ Self.mostUnacknowledged { giveUp(side) }
  }

  /// Data was acknowledged (`TCP_Reassembler::AckReceived`): what did not arrive by now is a gap.
  /// - Returns: whether this may have been the last that a close waited for.
  @inline(__always)
  mutating func acknowledged(_ number: UInt32, _ isOriginator: Bool, _ upTo: UInt64) -> Bool {
    let side = sides(number, isOriginator).sender
    var upTo = upTo
    if side.pointee.marks.contains(.sawFIN) {
      let ending = table.records[number].pointee.ending
      let finEnd =
        isOriginator
        ? endings[ending].pointee.originator.finEnd : endings[ending].pointee.responder.finEnd
      if upTo >= finEnd { upTo = finEnd &- 1 }
    }
    if upTo <= side.trimmed { return false }
    if side.delivered < upTo { missed(number, isOriginator, upTo) }
    side.trimmed = upTo
    if side.rest.pointee.ranges != 0 {
      dropRanges(side, upTo)
      deliverRanges(side)
    }
    return true
  }

  /// Data up to here was acknowledged but never seen (`TCP_Reassembler::Undelivered`).
  private mutating func missed(_ number: UInt32, _ isOriginator: Bool, _ upTo: UInt64) {
    let (side, other) = sides(number, isOriginator)
    // The numbers of a connection that was met midstream start at a guess.
    if upTo <= 2, table.records[number].pointee.marks.contains(.partial) { return }
    if !side.pointee.marks.contains(.skipping) {
      let counts = Self.isClean(side) && Self.isClean(other)
      while side.rest.pointee.ranges != 0 {
        let range = ranges[side.rest.pointee.ranges].pointee
        guard range.lower < upTo else { break }
        if counts { countGap(number, table.records[number], isOriginator) }
        side.delivered = range.lower
        deliverRanges(side)
      }
      if counts, side.delivered < upTo { countGap(number, table.records[number], isOriginator) }
    }
    if side.delivered < upTo { side.delivered = upTo }
  }

  private static func isClean(_ side: SidePointer) -> Bool {
    side.pointee.state == .established
      || side.pointee.state == .closed && side.pointee.previous == .established
  }

  /// Whether more of a side's data is expected before its close counts
  /// (`TCP_Reassembler::DataPending`).
  func isDataPending(_ number: UInt32, _ isOriginator: Bool) -> Bool {
    let (side, other) = sides(number, isOriginator)
    if side.pointee.marks.contains(.skipping) { return false }
    let last = side.fullLast
    let delivered = UInt64(side.pointee.start) &+ side.delivered
    if last < delivered { return false }
    // A FIN takes a number behind the data.
    if last > delivered &+ 1 { return true }
    // Its own acknowledgements of the other side's data are still to come.
    return side.pointee.state != .reset
      && !other.pointee.marks.contains(.skipping)
      && (other.rest.pointee.ranges != 0
        || other.trimmed < other.delivered)
  }

  @inline(__always)
  static func isBefore(_ a: UInt32, _ b: UInt32) -> Bool { Int32(bitPattern: a &- b) < 0 }

  // MARK: Ranges beyond a hole, in order of sequence

  private mutating func insert(_ side: SidePointer, _ start: UInt64, _ end: UInt64) {
    var lower = start
    if lower < side.trimmed { lower = side.trimmed }
    if lower < side.delivered { lower = side.delivered }
    guard lower < end else { return }
    var previous: UInt32 = 0
    var next = side.rest.pointee.ranges
    var count = 0
    while next != 0, ranges[next].pointee.upper < lower {
      previous = next
      next = ranges[next].pointee.next
      count += 1
    }
    if next != 0, end >= ranges[next].pointee.lower {
      // Touches or overlaps: widen, and swallow what follows.
      let range = ranges[next]
      if lower < range.pointee.lower { range.pointee.lower = lower }
      if range.pointee.upper < end { range.pointee.upper = end }
      var after = range.pointee.next
      while after != 0, range.pointee.upper >= ranges[after].pointee.lower {
        if range.pointee.upper < ranges[after].pointee.upper {
          range.pointee.upper = ranges[after].pointee.upper
        }
        let following = ranges[after].pointee.next
        ranges.giveBack(after)
        after = following
      }
      range.pointee.next = after
    } else if count < Self.mostRanges {
      let made = ranges.take(OutOfOrder(lower: lower, upper: end, next: next))
      if previous == 0 {
        side.rest.pointee.ranges = made
      } else {
        ranges[previous].pointee.next = made
      }
    }
    deliverRanges(side)
  }

  /// Delivers what is no longer beyond a hole.
  private mutating func deliverRanges(_ side: SidePointer) {
    while side.rest.pointee.ranges != 0 {
      let number = side.rest.pointee.ranges
      let range = ranges[number].pointee
      if side.delivered < range.lower { return }
      if side.delivered < range.upper { side.delivered = range.upper }
      side.rest.pointee.ranges = range.next
      ranges.giveBack(number)
    }
  }

  private mutating func dropRanges(_ side: SidePointer, _ upTo: UInt64) {
    while side.rest.pointee.ranges != 0 {
      let number = side.rest.pointee.ranges
      let range = ranges[number].pointee
      if upTo < range.upper { return }
      side.rest.pointee.ranges = range.next
      ranges.giveBack(number)
    }
  }

  private func highestRange(_ side: SidePointer) -> UInt64? {
    var number = side.rest.pointee.ranges
    guard number != 0 else { return nil }
    while ranges[number].pointee.next != 0 { number = ranges[number].pointee.next }
    return ranges[number].pointee.upper
  }

  private mutating func giveUp(_ side: SidePointer) {
    dropAllRanges(side)
    side.pointee.marks.insert(.skipping)
  }

  mutating func dropAllRanges(_ side: SidePointer) {
    while side.rest.pointee.ranges != 0 {
      let number = side.rest.pointee.ranges
      side.rest.pointee.ranges = ranges[number].pointee.next
      ranges.giveBack(number)
    }
  }
}
