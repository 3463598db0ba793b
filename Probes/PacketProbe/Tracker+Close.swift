import Evidence

/// Who closed a connection, how, and what it was doing then. One rule a property:
///
/// * closer: the side whose FIN or RST was seen first; `middlebox` when that was a RST in the
///   responder's name with a positive mark of forgery.
/// * manner: a RST without ACK is passive (`tcp_v4_send_reset`: no socket there any more), one with
///   ACK is active (`tcp_send_active_reset`), one that answers a SYN refuses. The window does not
///   decide: an active one may show 0 when the receive buffer was full.
/// * phase: what the close had seen. A responder's FIN that acknowledges nothing of the last request
///   left an idle connection, whatever was on its way.
extension Tracker {
  mutating func followClose(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let flags = segment.pointee.flags
    if flags.contains(.rst) {
      noteReset(number, isOriginator, segment)
    } else {
      noteAfterReset(number, isOriginator, segment)
      if flags.contains(.fin) { noteFIN(number, isOriginator, segment) }
    }
  }

  private mutating func noteFIN(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let ending = self.ending(number)
    if isOriginator {
      if ending.pointee.fin.0 == 0 { ending.pointee.fin.0 = segment.pointee.time }
    } else if ending.pointee.fin.1 == 0 {
      ending.pointee.fin.1 = segment.pointee.time
      ending.pointee.finAcknowledged = segment.pointee.acknowledgement
    }
    if ending.pointee.closedAt == 0 { noteClose(number, isOriginator, segment, ending) }
  }

  private mutating func noteReset(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let record = table.records[number]
    let ending = self.ending(number)
    let kind: Manner
    if !isOriginator, record.pointee.marks.contains(.sawSYN),
      !record.pointee.marks.contains(.sawSYNACK), record.pointee.requestTime == 0
    {
      kind = .refused
    } else {
      kind = segment.pointee.flags.contains(.ack) ? .activeReset : .passiveReset
    }
    if isOriginator {
      if ending.pointee.reset.0 == 0 {
        ending.pointee.reset.0 = segment.pointee.time
        ending.pointee.resetKind.0 = kind.code
      }
    } else if ending.pointee.reset.1 == 0 {
      ending.pointee.reset.1 = segment.pointee.time
      ending.pointee.resetKind.1 = kind.code
      ending.pointee.resetSequence = segment.pointee.sequence
      ending.pointee.resetAcknowledged = segment.pointee.acknowledgement
      ending.pointee.resetHasAcknowledgement = segment.pointee.flags.contains(.ack)
      ending.pointee.forgery.formUnion(forgeryMarks(record, segment, kind))
    }
    if ending.pointee.closedAt == 0 { noteClose(number, isOriginator, segment, ending) }
  }

  private func noteClose(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>,
    _ ending: UnsafeMutablePointer<Ending>
  ) {
    let record = table.records[number]
    record.pointee.marks.insert(.closing)
    ending.pointee.closedAt = segment.pointee.time
    ending.pointee.closedByOriginator = isOriginator
    ending.pointee.closedByReset = segment.pointee.flags.contains(.rst)
    if record.pointee.lastPayload != 0 {
      ending.pointee.idle = max(0, segment.pointee.time &- record.pointee.lastPayload)
    }
    ending.pointee.phase =
      phaseAtClose(number, isOriginator, segment, idle: ending.pointee.idle).code
  }

  // MARK: Phase

  private func phaseAtClose(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>, idle: Int64
  ) -> Phase {
    let record = table.records[number]
    if isConnecting(record) { return .connecting }
    let exchange = record.pointee.exchange
    if exchange.marks.contains(.tls), !exchange.marks.contains(.tlsEstablished) {
      return .tlsHandshake
    }
    guard exchange.requestTime != 0, !exchange.marks.contains(.http2) else { return .idle }
    if exchange.marks.contains(.open) {
      let sent = exchange.requestStart &+ UInt32(truncatingIfNeeded: exchange.requestBytes)
      var seen = record.pointee.originator.acknowledged
      if !isOriginator, segment.pointee.flags.contains(.ack),
        !Self.isBefore(segment.pointee.acknowledgement, seen),
        !Self.isBefore(record.pointee.originator.last, segment.pointee.acknowledgement)
      {
        seen = segment.pointee.acknowledgement
      }
      if !isOriginator, segment.pointee.flags.contains(.fin),
        !Self.isBefore(exchange.requestStart, seen)
      {
        return .idle
      }
      return Self.isBefore(seen, sent) || exchange.isRequestCut
        ? .sendingRequest : .awaitingResponse
    }
    if exchange.isRequestCut { return .sendingRequest }
    switch isAnswered(record) {
    case true?: return .idle
    case false?: return .receivingResponse
    case nil:
      return phaseOfUnmeasured(exchange, isReset: segment.pointee.flags.contains(.rst), idle)
    }
  }

  /// The end of the answer cannot be told from its bytes (TLS, a header that the snap length cut, a
  /// protocol that is not HTTP). After a second of silence it was complete. Sooner than that, a reset
  /// cuts a plain answer, and a FIN may as well end it as cut it; a TLS backend resets what it has
  /// answered when a close_notify comes in, so that there even a reset says nothing.
  private func phaseOfUnmeasured(_ exchange: Exchange, isReset: Bool, _ idle: Int64) -> Phase {
    if exchange.marks.contains(.untilClose) { return isReset ? .receivingResponse : .idle }
    if idle >= 1_000_000_000 { return .idle }
    return isReset && !exchange.marks.contains(.tls) ? .receivingResponse : .unknown
  }

  /// The handshake was seen to begin and not to be completed, and nothing was said.
  func isConnecting(_ record: UnsafeMutablePointer<Record>) -> Bool {
    guard record.pointee.marks.contains(.sawSYN), record.pointee.lastPayload == 0 else {
      return false
    }
    return !record.pointee.marks.contains(.measured)
  }

  // MARK: Forgery

  /// Round trips below a millisecond, in microseconds, say nothing: a stall hides them.
  static var leastTellingDelay: UInt32 { 1000 }

  /// When the originator sent, for what answers it sooner than a round trip.
  mutating func noteSent(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let extras = extras(record)
    let gap = (segment.pointee.time &- extras.pointee.sent) / 1000
    extras.pointee.sentGap = UInt32(clamping: gap)
    extras.pointee.sent = segment.pointee.time
  }

  /// Positive marks only: never window 0, missing options or identification 0, which every ordinary
  /// passive reset has.
  private func forgeryMarks(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ kind: Manner
  ) -> Ending.Forgery {
    var marks: Ending.Forgery = []
    let seesAll = !record.pointee.marks.contains(.light)
    let own = Int(record.pointee.responder.timeToLive)
    if own != 0, abs(own - Int(segment.pointee.timeToLive)) > 2 { marks.insert(.timeToLive) }
    let copied = record.pointee.originator.identification
    let last = record.pointee.responder.identification
    if seesAll, copied != 0, last != 0, segment.pointee.identification == copied,
      Int16(bitPattern: copied &- last).magnitude > 1024
    {
      marks.insert(.identification)
    }
    // What answers a segment cannot come sooner than the round trip; and it is known which segment
    // only when there was none shortly before it.
    let roundTrip = Int64(record.pointee.synAckDelay)
    if seesAll, kind == .passiveReset, record.pointee.extras != 0,
      record.pointee.synAckDelay >= Self.leastTellingDelay
    {
      let extras = table.extras[record.pointee.extras]
      let delay = (segment.pointee.time &- extras.pointee.sent) / 1000
      if delay >= 0, delay < roundTrip / 2, Int64(extras.pointee.sentGap) > roundTrip * 2 {
        marks.insert(.tooSoon)
      }
    }
    return marks
  }

  /// The responder goes on beyond the number that "its" reset had.
  private mutating func noteAfterReset(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let kept = table.records[number].pointee.ending
    guard !isOriginator, kept != 0 else { return }
    let ending = endings[kept]
    guard ending.pointee.reset.1 != 0, segment.pointee.time > ending.pointee.reset.1,
      ending.pointee.resetKind.1 != Manner.refused.code
    else { return }
    let fin: UInt32 = segment.pointee.flags.contains(.fin) ? 1 : 0
    let end = segment.pointee.sequence &+ segment.pointee.payloadLength &+ fin
    if Self.isBefore(ending.pointee.resetSequence, end) { ending.pointee.forgery.insert(.wentOn) }
  }
}

extension Manner {
  var code: UInt8 {
    switch self {
    case .fin: 1
    case .activeReset: 2
    case .passiveReset: 3
    case .refused: 4
    case .timeout: 5
    }
  }

  init?(code: UInt8) {
    switch code {
    case 1: self = .fin
    case 2: self = .activeReset
    case 3: self = .passiveReset
    case 4: self = .refused
    case 5: self = .timeout
    default: return nil
    }
  }
}

extension Phase {
  var code: UInt8 {
    switch self {
    case .connecting: 0
    case .tlsHandshake: 1
    case .idle: 2
    case .sendingRequest: 3
    case .awaitingResponse: 4
    case .receivingResponse: 5
    case .unknown: 6
    }
  }

  init(code: UInt8) {
    switch code {
    case 0: self = .connecting
    case 1: self = .tlsHandshake
    case 3: self = .sendingRequest
    case 4: self = .awaitingResponse
    case 5: self = .receivingResponse
    case 6: self = .unknown
    default: self = .idle
    }
  }
}
