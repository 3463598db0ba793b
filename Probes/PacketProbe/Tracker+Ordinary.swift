import Evidence

/// The packet that nearly all packets are: data or an ACK of an established connection, with nothing
/// that Zeek would write down again.
///
/// What `update` and `understand` do to it comes down to moving a few numbers, and is done here within
/// two cache lines of the record, with few branches, since the packets of many connections come in no
/// order that a processor could guess. Whatever is not plain (a letter to write, a retransmission, a hole
/// that fills, numbers that wrap or lie before the start, a side that closes, a report that is due) is
/// left to them, before anything was changed.
extension Tracker {
  /// Numbers relative to a start that have this bit are left to `update`.
  private static var beyond: UInt32 { 1 << 31 }

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
    let end = segment.pointee.sequence &+ length
    let start = sender.pointee.start
    let place = segment.pointee.sequence &- start
    let upper = place &+ length
    let ahead = Int32(bitPattern: end &- sender.pointee.last)
    let other = receiver.pointee.start
    let upTo = segment.pointee.acknowledgement &- other
    guard (place | upper | upTo) & Self.beyond == 0, end >= start,
      segment.pointee.acknowledgement >= other, ahead > 0 || length == 0
    else { return false }
    var delivered = sender.pointee.deliveredLow
    if length > 0, !options.cutPayloadIsGap || segment.isWhole {
      let acknowledged = sender.pointee.acknowledged &- start
      guard place <= delivered, place >= acknowledged, acknowledged >= 2,
        UInt64(upper) <= UInt64(sender.pointee.trimmedLow) &+ Self.mostUnacknowledged
      else { return false }
      delivered = max(delivered, upper)
    }
    let isGap = upTo > receiver.pointee.deliveredLow
    if isGap, upTo <= 2 { return false }

    // From here on it is one.
    sender.pointee.deliveredLow = delivered
    sender.pointee.last = ahead > 0 ? end : sender.pointee.last
    sender.pointee.packets &+= 1
    sender.pointee.identification = segment.pointee.identification
    receiver.pointee.deliveredLow = max(receiver.pointee.deliveredLow, upTo)
    receiver.pointee.trimmedLow = max(receiver.pointee.trimmedLow, upTo)
    receiver.pointee.acknowledged = max(
      receiver.pointee.acknowledged, segment.pointee.acknowledgement)
    receiver.pointee.unanswered = 0
    record.pointee.last = segment.pointee.time
    let gaps = Self.gaps(record, isOriginator: !isOriginator)
    let count = gaps.pointee &+ (isGap ? 1 : 0)
    gaps.pointee = count
    if isGap, count == 1 || count % 10 == 0 { scaled(number, !isOriginator, "G", count) }
    if record.pointee.plain.contains(.far), isOriginator { noteSent(record, segment) }

    // Most of it is the middle of responses, or acknowledges those.
    let isMid = record.pointee.isMidResponse && !isOriginator
    let fresh = min(length, UInt32(bitPattern: max(ahead, 0)))
    record.pointee.responseBytes &+= isMid ? UInt64(fresh) : 0
    record.pointee.lastPayload =
      isMid && length > 0 ? segment.pointee.time : record.pointee.lastPayload
    if length > 0, !isMid {
      if isOriginator {
        requestData(number, record, segment, fresh)
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
