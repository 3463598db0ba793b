import Evidence

/// The packet that nearly all packets are: data or an ACK of an established connection, with nothing
/// that Zeek would write down again.
///
/// What `update` and `understand` do to it comes down to moving a few numbers, and is done here within
/// two cache lines of the record. Whatever is not plain (a letter to write, a retransmission, a hole
/// that fills, numbers that wrap or lie before the start, a side that closes, a report that is due) is
/// left to them, before anything was changed.
extension Tracker {
  /// Numbers relative to a start that lie beyond this are left to `update`.
  private static var farthest: UInt32 { 1 << 31 }

  /// - Returns: false when the packet is not ordinary and nothing was done.
  @inline(__always)
  mutating func followOrdinary(
    _ number: UInt32, _ record: UnsafeMutablePointer<Record>, _ isOriginator: Bool,
    _ segment: UnsafePointer<Segment>
  ) -> Bool {
    let length = segment.pointee.payloadLength
    let letter: UInt8 = (length > 0 ? 2 : 4) << (isOriginator ? 0 : 2)
    guard record.pointee.plain.rawValue & (letter | 1) == letter | 1,
      segment.pointee.flags.isOrdinary, segment.pointee.window != 0
    else { return false }
    let (sender, receiver) = Self.sides(record, isOriginator)

    // The sender's numbers.
    let sequence = segment.pointee.sequence
    let end = sequence &+ length
    let start = sender.pointee.start
    guard sequence >= start, end >= sequence, end &- start < Self.farthest else { return false }
    let ahead = Int32(bitPattern: end &- sender.pointee.last)
    if ahead <= 0, length > 0 { return false }
    let delivers = length > 0 && (!options.cutPayloadIsGap || segment.isWhole)
    if delivers {
      let place = sequence &- start
      let acknowledged = sender.pointee.acknowledged &- start
      guard place <= sender.pointee.deliveredLow, place >= acknowledged, acknowledged >= 2,
        UInt64(end &- start) <= UInt64(sender.pointee.trimmedLow) &+ Self.mostUnacknowledged
      else { return false }
    }

    // What it acknowledges.
    let acknowledgement = segment.pointee.acknowledgement
    let other = receiver.pointee.start
    guard acknowledgement >= other, acknowledgement &- other < Self.farthest else { return false }
    let upTo = acknowledgement &- other
    if upTo > receiver.pointee.trimmedLow {
      if upTo > receiver.pointee.deliveredLow {
        if upTo <= 2 { return false }
        countGap(number, record, !isOriginator)
        receiver.pointee.deliveredLow = upTo
      }
      receiver.pointee.trimmedLow = upTo
    }
    if acknowledgement > receiver.pointee.acknowledged {
      receiver.pointee.acknowledged = acknowledgement
    }
    if ahead > 0 { sender.pointee.last = end }
    if delivers, sender.pointee.deliveredLow < end &- start {
      sender.pointee.deliveredLow = end &- start
    }
    if sender.pointee.packets != .max { sender.pointee.packets &+= 1 }
    sender.pointee.identification = segment.pointee.identification
    receiver.pointee.unanswered = 0
    record.pointee.last = segment.pointee.time

    if isOriginator, record.pointee.plain.contains(.far) { noteSent(record, segment) }
    if length > 0 {
      let fresh = min(length, UInt32(bitPattern: ahead))
      if isOriginator {
        requestData(number, record, segment, fresh)
      } else if record.pointee.isMidResponse {
        record.pointee.lastPayload = segment.pointee.time
        record.pointee.responseBytes &+= UInt64(fresh)
      } else {
        responseData(record, segment, fresh, isNext: ahead <= Int32(bitPattern: length))
      }
    }
    return true
  }

  /// Whether the next packets of a connection may take the short way.
  func plain(_ record: UnsafeMutablePointer<Record>) -> Record.Plain {
    let marks = record.pointee.marks
    guard record.pointee.originator.isPlain, record.pointee.responder.isPlain,
      record.pointee.originatorRest.isZero, record.pointee.responderRest.isZero,
      record.pointee.ending == 0, record.pointee.report == .max,
      marks.isDisjoint(with: [.closing, .light, .reported]),
      record.pointee.handshake == 0 || marks.contains(.measured)
    else { return [] }
    var plain: Record.Plain = .both
    let (o, r) = (record.pointee.originator.history, record.pointee.responder.history)
    if o & HistoryBit.data != 0 { plain.insert(.originatorData) }
    if o & HistoryBit.ack != 0 { plain.insert(.originatorACK) }
    if r & HistoryBit.data != 0 { plain.insert(.responderData) }
    if r & HistoryBit.ack != 0 { plain.insert(.responderACK) }
    if record.pointee.synAckDelay >= Self.leastTellingDelay { plain.insert(.far) }
    return plain
  }
}

extension Side {
  /// Established, with nothing told of its end nor of its data being given up, and its numbers within
  /// the range that the short way compares.
  fileprivate var isPlain: Bool {
    let range: UInt32 = 1 << 31
    return state == .established && marks.rawValue == Marks.seen.rawValue
      && last >= start && last &- start < range
      && acknowledged >= start && acknowledged &- start < range
  }
}

extension Record {
  /// More of a response that was begun, whose end need not be looked for in its bytes.
  @inline(__always)
  fileprivate var isMidResponse: Bool {
    let looked: Exchange.Marks = [.open, .begun, .tls, .inHeader, .chunked]
    return exchangeMarks.intersection(looked).rawValue == Exchange.Marks.begun.rawValue
      && (requestLine == 0 || responseLength < 0)
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
  var isWhole: Bool { pointee.capturedLength >= pointee.payloadLength }
}
