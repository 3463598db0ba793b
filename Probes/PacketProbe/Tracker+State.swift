import Evidence

/// Zeek's state machine of a connection's two sides (`TCPSessionAdapter::UpdateStateMachine`).
extension Tracker {
  /// - Returns: whether the sender's side closed by this packet, and whether the roles changed.
  mutating func changeState(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) -> (closes: Bool, exchangesRoles: Bool) {
    let flags = segment.pointee.flags
    switch sides(number, isOriginator).sender.pointee.state {
    case .inactive: return firstPacket(number, isOriginator, segment)
    case .synSent, .synAckSent: return (afterSYN(number, isOriginator, flags), false)
    case .established, .partial: return (afterHandshake(number, isOriginator, flags), false)
    case .closed: return (afterFIN(number, isOriginator, flags), false)
    case .reset: return (false, false)
    }
  }

  /// A side takes a state; past the handshake a longer inactivity is allowed
  /// (`TCP_Endpoint::SetState`).
  private func enter(
    _ number: UInt32, _ side: SidePointer, _ other: SidePointer, _ state: EndpointState
  ) {
    if !state.isHandshake, side.pointee.state.isHandshake, other.pointee.state.isHandshake {
      table.records[number].pointee.marks.insert(.established)
    }
    side.pointee.enter(state)
  }

  private func setInactive(_ number: UInt32) {
    table.records[number].pointee.marks.remove(.active)
  }

  /// `UpdateInactiveState`
  private mutating func firstPacket(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) -> (closes: Bool, exchangesRoles: Bool) {
    let flags = segment.pointee.flags
    let record = table.records[number]
    var (sender, receiver) = sides(number, isOriginator)
    var closes = false
    var exchangesRoles = false
    if flags.contains(.syn) {
      if isOriginator {
        enter(number, sender, receiver, flags.contains(.ack) ? .synAckSent : .synSent)
        record.pointee.marks.insert(.attempt)
      } else {
        if !flags.contains(.ack), receiver.pointee.state == .synAckSent,
          segment.pointee.sequence == sender.pointee.start
        {
          exchangeRoles(number)
          exchangesRoles = true
          // The sides' records changed places.
          swap(&sender, &receiver)
          enter(number, receiver, sender, .established)
        }
        if receiver.pointee.state == .synSent {
          enter(number, receiver, sender, .established)
        }
        enter(number, sender, receiver, .established)
        if receiver.pointee.state != .partial { noteService(record, receiver) }
      }
    }
    if flags.contains(.fin) {
      enter(number, sender, receiver, .closed)
      closes = true
    }
    if flags.contains(.rst) {
      enter(number, sender, receiver, .reset)
      closes = true
    }
    if sender.pointee.state == .inactive {
      meetMidstream(number, isOriginator, segment)
    }
    return (closes, exchangesRoles)
  }

  /// Where people type, longer pauses are allowed (scripts/base/protocols/conn/inactivity.zeek).
  private func noteService(
    _ record: UnsafeMutablePointer<Record>, _ originator: SidePointer
  ) {
    var port = record.pointee.responderPort
    if originator.pointee.state == .inactive, !ServerPorts.contains(port),
      ServerPorts.contains(record.pointee.originatorPort)
    {
      port = record.pointee.originatorPort
    }
    if ServerPorts.isInteractive(port) { record.pointee.marks.insert(.interactive) }
  }

  /// Neither SYN, FIN nor RST was the first packet of this side.
  private func meetMidstream(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let record = table.records[number]
    let (sender, receiver) = sides(number, isOriginator)
    if !isOriginator, segment.pointee.payloadLength == 0,
      record.pointee.originator.state == .synSent
    {
      // Some acknowledge a SYN before they answer it.
      return
    }
    if segment.pointee.flags.contains(.ack), receiver.pointee.state == .established {
      // The SYN was missed, its answer was not.
      enter(number, sender, receiver, .established)
      record.pointee.marks.remove(.partial)
    } else {
      enter(number, sender, receiver, .partial)
    }
  }

  /// `UpdateSYN_SentState`
  private func afterSYN(_ number: UInt32, _ isOriginator: Bool, _ flags: TCPFlags) -> Bool {
    let (sender, receiver) = sides(number, isOriginator)
    var closes = false
    if flags.contains(.fin) {
      enter(number, sender, receiver, .closed)
      closes = true
    }
    if flags.contains(.rst) {
      enter(number, sender, receiver, .reset)
      setInactive(number)
      closes = true
    }
    return closes
  }

  /// `UpdateEstablishedState`
  private func afterHandshake(_ number: UInt32, _ isOriginator: Bool, _ flags: TCPFlags) -> Bool {
    let (sender, receiver) = sides(number, isOriginator)
    var closes = false
    if flags.contains(.syn), sender.pointee.state == .partial,
      receiver.pointee.state == .inactive, !flags.contains(.ack)
    {
      enter(number, sender, receiver, .synSent)
    }
    if flags.contains(.fin), !flags.contains(.rst) {
      enter(number, sender, receiver, .closed)
      if receiver.pointee.state == .reset, receiver.pointee.previous == .closed {
        // A FIN and then a RST on the other side: that was an ordinary end.
        enter(number, receiver, sender, .closed)
      }
      closes = true
    }
    if flags.contains(.rst) {
      enter(number, sender, receiver, .reset)
      if receiver.pointee.state != .reset || receiver.pointee.previous != .established {
        setInactive(number)
      }
      closes = true
    }
    return closes
  }

  /// `UpdateClosedState`
  private func afterFIN(_ number: UInt32, _ isOriginator: Bool, _ flags: TCPFlags) -> Bool {
    let (sender, receiver) = sides(number, isOriginator)
    guard flags.contains(.rst), receiver.pointee.state != .closed else { return false }
    enter(number, sender, receiver, .reset)
    return !sender.pointee.marks.contains(.closed)
  }

  /// What was taken for the originator is the responder (`Connection::FlipRoles`).
  private mutating func exchangeRoles(_ number: UInt32) {
    let record = table.records[number]
    swap(&record.pointee.originator, &record.pointee.responder)
    swap(&record.pointee.originatorRest, &record.pointee.responderRest)
    // Which letters were written is a matter of the case, not of the end (`Connection::FlipRoles`
    // leaves `hist_seen` as it is).
    swap(&record.pointee.originator.history, &record.pointee.responder.history)
    swap(&record.pointee.gaps.0, &record.pointee.gaps.1)
    table.exchangeEnds(record)
    record.pointee.marks.remove(.partial)
    if record.pointee.ending != 0 {
      let ending = endings[record.pointee.ending]
      swap(&ending.pointee.originator, &ending.pointee.responder)
    }
    if record.pointee.extras != 0 {
      let extras = table.extras[record.pointee.extras]
      swap(&extras.pointee.originator, &extras.pointee.responder)
    }
    addHistory(number, UInt8(ascii: "^"))
  }

  // MARK: Closing

  /// A side's FIN or RST was seen, and all of its data (`ConnectionClosed`).
  mutating func sideClosed(_ number: UInt32, _ isOriginator: Bool) {
    let record = table.records[number]
    let (side, other) = sides(number, isOriginator)
    if isDataPending(number, isOriginator) {
      record.pointee.marks.insert(.closeDeferred)
      return
    }
    record.pointee.marks.remove(.closeDeferred)
    if side.pointee.marks.contains(.closed) { return }
    side.pointee.marks.insert(.closed)
    let isComplete =
      side.pointee.state == .reset || other.pointee.marks.contains(.closed)
      || other.pointee.state == .inactive
    let last = record.pointee.last
    let ending = self.ending(number)
    if isComplete {
      let wasRejected = side.pointee.state == .reset
      if !wasRejected, side.pointee.previous != .inactive || other.pointee.state != .inactive {
        setInactive(number)
      }
      record.pointee.expire = .max
      record.pointee.marks.remove(.attempt)
      ending.pointee.expire = .max
      ending.pointee.delete = last &+ options.closeDelay.nanoseconds
    } else if side.pointee.previous != .inactive {
      ending.pointee.expire = last &+ options.sessionTimer.nanoseconds
    }
    schedule(number)
  }

  /// A deferred close may be complete now (`TCP_Reassembler::CheckEOF`, `EndpointEOF`).
  @inline(__always)
  mutating func endOfData(_ number: UInt32, _ isOriginator: Bool) {
    let side = sides(number, isOriginator).sender
    guard !side.pointee.marks.contains(.ended),
      side.pointee.marks.contains(.sawFIN) || side.pointee.state.rawValue >= 5
    else { return }
    finishData(number, isOriginator)
  }

  private mutating func finishData(_ number: UInt32, _ isOriginator: Bool) {
    if isDataPending(number, isOriginator) { return }
    sides(number, isOriginator).sender.pointee.marks.insert(.ended)
    let record = table.records[number]
    if record.pointee.marks.contains(.closeDeferred) {
      sideClosed(number, isOriginator)
      table.records[number].pointee.marks.remove(.closeDeferred)
    }
  }

  /// Payload bytes a side sent, by sequence numbers (`TCP_Endpoint::Size`).
  func size(_ number: UInt32, _ isOriginator: Bool) -> UInt64 {
    let (side, other) = sides(number, isOriginator)
    if side.pointee.previous == .synSent, side.pointee.state == .reset,
      other.pointee.state == .inactive, !side.isUnacknowledged
    {
      return 0
    }
    var size = max(side.fullLast, side.fullAcknowledged) &- UInt64(side.pointee.start)
    if size != 0 { size &-= 1 }
    if side.pointee.marks.contains(.sawFIN), size != 0 { size &-= 1 }
    return size
  }

  /// `conn_state` (scripts/base/protocols/conn/main.zeek).
  func connState(_ number: UInt32, history: String) -> ConnState {
    let record = table.records[number]
    let o = record.pointee.originator.state
    let r = record.pointee.responder.state
    let originatorInactive = o == .inactive || o == .partial
    let responderInactive = r == .inactive || r == .partial
    if r == .reset {
      if o == .synSent || o == .synAckSent
        || o == .reset && size(number, true) == 0 && size(number, false) == 0
      {
        return .rej
      }
      return originatorInactive ? .rstrh : .rstr
    }
    if o == .reset {
      guard responderInactive else { return .rsto }
      return Self.isAbandonedSYN(history) ? .rstos0 : .oth
    }
    switch (o, r) {
    case (.closed, .closed): return .sf
    case (.closed, _): return responderInactive ? .sh : .s2
    case (_, .closed): return originatorInactive ? .shr : .s3
    case (.synSent, .inactive): return .s0
    case (.established, .established): return .s1
    default: return .oth
    }
  }

  /// Zeek's pattern `^?S[^HAFGIQ]*R.*`: a SYN, then a RST, and nothing of substance between.
  private static func isAbandonedSYN(_ history: String) -> Bool {
    var letters = Substring(history)
    if letters.first == "^" { letters = letters.dropFirst() }
    guard letters.first == "S" else { return false }
    guard let reset = letters.firstIndex(of: "R") else { return false }
    return !letters[..<reset].contains { "HAFGIQ".contains($0) }
  }
}
