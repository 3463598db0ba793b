import Evidence

/// The packet that nearly all packets are: data or an ACK of an established connection, with nothing
/// that Zeek would write down again.
///
/// What `update` does to it comes down to moving a few numbers, and is done here without its detours.
/// Whatever is not plain (a letter to write, a retransmission, a hole that fills, numbers that wrap or
/// lie before the start, a side that closes) is left to `update`, before anything was changed.
extension Tracker {
  /// Numbers relative to a start that lie beyond this are left to `update`.
  private static var farthest: UInt32 { 1 << 31 }

  /// - Returns: how far the segment's end lies beyond what its sender had sent before; nil when the
  ///   packet is not ordinary and nothing was done.
  @inline(__always)
  mutating func updateOrdinary(
    _ number: UInt32, _ record: UnsafeMutablePointer<Record>, _ sender: SidePointer,
    _ receiver: SidePointer, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) -> Int32? {
    let length = segment.pointee.payloadLength
    guard segment.pointee.flags.isOrdinary, segment.pointee.window != 0,
      sender.pointee.isOrdinary, receiver.pointee.isOrdinary,
      sender.pointee.history & (length > 0 ? HistoryBit.data : HistoryBit.ack) != 0
    else { return nil }

    // The sender's numbers.
    let sequence = segment.pointee.sequence
    let end = sequence &+ length
    let start = sender.pointee.start
    guard sequence >= start, end >= sequence, end &- start < Self.farthest,
      sender.pointee.last >= start, sender.pointee.last &- start < Self.farthest
    else { return nil }
    let ahead = Int32(bitPattern: end &- sender.pointee.last)
    if ahead <= 0, length > 0 { return nil }
    let delivers = length > 0 && (!options.cutPayloadIsGap || segment.isWhole)
    if delivers {
      let place = UInt64(sequence &- start)
      guard sender.pointee.ranges == 0, place <= sender.pointee.delivered,
        place >= sender.pointee.acknowledgedEnd, !sender.pointee.isUnacknowledged,
        UInt64(end &- start) <= sender.pointee.trimmed &+ Self.mostUnacknowledged
      else { return nil }
    }

    // What it acknowledges.
    let acknowledgement = segment.pointee.acknowledgement
    let other = receiver.pointee.start
    guard acknowledgement >= other, acknowledgement &- other < Self.farthest,
      receiver.pointee.acknowledged >= other,
      receiver.pointee.acknowledged &- other < Self.farthest
    else { return nil }
    let upTo = UInt64(acknowledgement &- other)
    if upTo > receiver.pointee.trimmed {
      if receiver.pointee.ranges != 0 { return nil }
      if upTo > receiver.pointee.delivered {
        if upTo <= 2 { return nil }
        countGap(number, !isOriginator)
        receiver.pointee.delivered = upTo
      }
      receiver.pointee.trimmed = upTo
    }
    if acknowledgement > receiver.pointee.acknowledged {
      receiver.pointee.acknowledged = acknowledgement
    }
    if ahead > 0 { sender.pointee.last = end }
    if delivers, sender.pointee.delivered < UInt64(end &- start) {
      sender.pointee.delivered = UInt64(end &- start)
    }
    record.pointee.last = segment.pointee.time
    if sender.pointee.packets != .max { sender.pointee.packets &+= 1 }
    return ahead
  }
}

extension Side {
  /// Established, and nothing told of its end nor of its data being given up.
  @inline(__always)
  var isOrdinary: Bool {
    state == .established && marks.rawValue == Marks.seen.rawValue
      && wraps | acknowledgedWraps == 0
  }
}

extension TCPFlags {
  /// An ACK without SYN, FIN or RST.
  @inline(__always)
  var isOrdinary: Bool { rawValue & 0x17 == 0x10 }
}

extension UnsafePointer<Segment> {
  /// All of the payload was captured.
  @inline(__always)
  var isWhole: Bool { pointee.payload.count >= Int(pointee.payloadLength) }
}
