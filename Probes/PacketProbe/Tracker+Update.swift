import Evidence

/// One packet's way through a connection (`TCPSessionAdapter::Process`).
extension Tracker {
  /// Pointers to the sides, by the direction of the packet at hand.
  typealias SidePointer = UnsafeMutablePointer<Side>

  @inline(__always)
  func sides(
    _ number: UInt32, _ isOriginator: Bool
  ) -> (sender: SidePointer, receiver: SidePointer) {
    Self.sides(table.records[number], isOriginator)
  }

  @inline(__always)
  static func sides(
    _ record: UnsafeMutablePointer<Record>, _ isOriginator: Bool
  ) -> (sender: SidePointer, receiver: SidePointer) {
    let first = UnsafeMutableRawPointer(record).assumingMemoryBound(to: Side.self)
    return isOriginator ? (first, first + 1) : (first + 1, first)
  }

  mutating func update(_ number: UInt32, _ fromOriginator: Bool, _ segment: UnsafePointer<Segment>)
  {
    let record = table.records[number]
    var (sender, receiver) = sides(number, fromOriginator)
    let flags = segment.pointee.flags
    let control: TCPFlags = [.syn, .fin, .rst]
    let isControl = !flags.isDisjoint(with: control)
    let length = segment.pointee.payloadLength

    markPartial(record, sender, flags, fromOriginator)
    var sequenceLength = flags.contains(.rst) ? 0 : length
    if flags.contains(.syn) { sequenceLength &+= 1 }
    if flags.contains(.fin) { sequenceLength &+= 1 }
    let end = segment.pointee.sequence &+ sequenceLength
    if sender.pointee.state == .inactive || flags.contains(.syn) {
      initialize(sender, flags, segment.pointee.sequence, end)
    }
    let (relative, isBelow) = Self.relative(
      segment.pointee.sequence, from: sender.pointee.start, last: sender.pointee.last,
      wraps: sender.rest.pointee.wraps)
    writeHistory(number, sender, fromOriginator, flags, relative, length)
    if segment.pointee.window == 0, !flags.contains(.rst), receiver.pointee.state != .closed,
      sender.pointee.state != .reset
    {
      countZeroWindow(number, fromOriginator)
    }
    noteTime(record, segment.pointee.time)
    if isControl {
      noteControl(number, fromOriginator, segment, relative &+ UInt64(sequenceLength))
    }

    var relativeAcknowledged: UInt64 = 0
    if flags.contains(.ack) {
      relativeAcknowledged = acknowledge(receiver, segment)
    }
    let ahead = Int32(bitPattern: end &- sender.pointee.last)
    moveLast(number, sender, fromOriginator, flags, end, ahead, length)

    var closes = false
    var isOriginator = fromOriginator
    if isControl || sender.pointee.state == .inactive {
      let change = changeState(number, fromOriginator, segment)
      closes = change.closes
      if change.exchangesRoles {
        // The roles were exchanged; the sender is still the sender.
        isOriginator = !fromOriginator
        (sender, receiver) = sides(number, isOriginator)
      }
    }
    if flags.contains(.ack) {
      if acknowledged(number, !isOriginator, relativeAcknowledged) {
        endOfData(number, !isOriginator)
      }
    }
    sender.pointee.marks.insert(.seen)
    if length > 0, !flags.contains(.rst), !isBelow {
      let isWhole = !options.cutPayloadIsGap || segment.pointee.payload.count >= Int(length)
      if isWhole {
        arrived(number, isOriginator, flags.contains(.syn) ? relative &+ 1 : relative, length)
      }
    }
    if sender.pointee.marks.contains(.sawFIN) || sender.pointee.state.rawValue >= 5 {
      endOfData(number, isOriginator)
    }
    if closes { sideClosed(number, isOriginator) }
    if sender.pointee.packets != .max { sender.pointee.packets &+= 1 }

    understand(number, isOriginator, segment, ahead: ahead)
    if isControl { schedule(number) }
    record.pointee.plain = plain(record)
  }

  /// The start was missed when a side's first packet was not its SYN (`SetPartialStatus`).
  @inline(__always)
  private func markPartial(
    _ record: UnsafeMutablePointer<Record>, _ sender: SidePointer, _ flags: TCPFlags,
    _ isOriginator: Bool
  ) {
    guard !sender.pointee.marks.contains(.seen) else { return }
    if isOriginator {
      let starts = flags.contains(.syn) && !flags.contains(.ack)
      if starts {
        record.pointee.marks.remove(.partial)
      } else {
        record.pointee.marks.insert(.partial)
      }
    } else if !record.pointee.marks.contains(.partial), !flags.contains(.syn) {
      record.pointee.marks.insert(.partial)
    }
  }

  /// Where a side's sequence numbers start, as far as this packet tells (`init_endpoint`).
  private func initialize(
    _ side: SidePointer, _ flags: TCPFlags, _ sequence: UInt32, _ end: UInt32
  ) {
    func restart(_ start: UInt32, last: UInt32) {
      side.pointee.start = start
      side.pointee.acknowledged = start
      side.pointee.last = last
    }
    switch side.pointee.state {
    case .inactive:
      if flags.contains(.syn) {
        restart(sequence, last: end)
      } else {
        // As though there had been a SYN; and the first packet is no retransmission.
        restart(sequence &- 1, last: sequence)
      }
    case .synSent, .synAckSent:
      if flags.contains(.syn), sequence != side.pointee.start { restart(sequence, last: end) }
    case .established, .partial:
      if flags.contains(.syn) { restart(sequence, last: end) }
    case .reset:
      // A SYN after a RST that came first of all: the RST may have been forged.
      if flags.contains(.syn), side.pointee.previous == .inactive { restart(sequence, last: end) }
    case .closed: break
    }
  }

  /// A sequence number relative to the side's start, and whether it lies before it
  /// (`get_relative_seq`): then it is negative, which here is far beyond everything.
  @inline(__always)
  static func relative(
    _ value: UInt32, from start: UInt32, last: UInt32, wraps: UInt16
  ) -> (value: UInt64, isBelow: Bool) {
    var wraps = UInt64(wraps)
    let delta = Int32(bitPattern: value &- last)
    if delta < 0 {
      if wraps > 0, value > last { wraps &-= 1 }
    } else if delta > 0, value < last {
      wraps &+= 1
    }
    if wraps == 0 {
      let offset = Int64(Int32(bitPattern: value &- start))
      return (UInt64(bitPattern: offset), offset < 0)
    }
    return (wraps << 32 &+ UInt64(value) &- UInt64(start), false)
  }

  /// Until both sides have closed, each packet lengthens the connection.
  @inline(__always)
  private mutating func noteTime(_ record: UnsafeMutablePointer<Record>, _ time: Int64) {
    if record.pointee.originator.marks.contains(.closed),
      record.pointee.responder.marks.contains(.closed)
    {
      if record.pointee.ending != 0 { endings[record.pointee.ending].pointee.trailing = time }
    } else {
      record.pointee.last = time
    }
  }

  private mutating func noteControl(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>, _ relativeEnd: UInt64
  ) {
    guard segment.pointee.flags.contains(.fin) else { return }
    let ending = self.ending(number)
    sides(number, isOriginator).sender.pointee.marks.insert(.sawFIN)
    if isOriginator {
      ending.pointee.originator.finEnd = relativeEnd
    } else {
      ending.pointee.responder.finEnd = relativeEnd
    }
  }

  /// - Returns: the acknowledgement relative to the other side's start, 0 for one that is not
  ///   believed.
  @inline(__always)
  private func acknowledge(_ receiver: SidePointer, _ segment: UnsafePointer<Segment>) -> UInt64 {
    let value = segment.pointee.acknowledgement
    if receiver.pointee.state == .inactive {
      // As though the silent side had sent its SYN (`init_peer`).
      receiver.pointee.start = value &- 1
      receiver.pointee.acknowledged = value &- 1
      receiver.pointee.last = value &- 1
      return 1
    }
    let (relative, isBelow) = Self.relative(
      value, from: receiver.pointee.start, last: receiver.pointee.acknowledged,
      wraps: receiver.rest.pointee.acknowledgedWraps)
    if isBelow { return 0 }
    if !segment.pointee.flags.contains(.rst) {
      let ahead = Int32(bitPattern: value &- receiver.pointee.acknowledged)
      // 0 is more likely a broken acknowledgement than a large step that ends on it.
      if ahead > 0, value != 0 || ahead <= Self.tooFar {
        if value < receiver.pointee.acknowledged { receiver.rest.pointee.acknowledgedWraps &+= 1 }
        receiver.pointee.acknowledged = value
      }
    }
    return relative
  }

  /// Zeek's `TOO_LARGE_SEQ_DELTA`.
  private static var tooFar: Int32 { 1_048_576 }

  /// Moves the end of what was sent, or counts a retransmission (`update_last_seq`).
  @inline(__always)
  private mutating func moveLast(
    _ number: UInt32, _ sender: SidePointer, _ isOriginator: Bool, _ flags: TCPFlags, _ end: UInt32,
    _ ahead: Int32, _ length: UInt32
  ) {
    func move() {
      if end < sender.pointee.last { sender.rest.pointee.wraps &+= 1 }
      sender.pointee.last = end
    }
    if !flags.isDisjoint(with: [.syn, .rst]), ahead > Self.tooFar || ahead < -Self.tooFar {
      return
    } else if flags.contains(.fin), sender.pointee.last == sender.pointee.start &+ 1 {
      move()
    } else if sender.pointee.state == .reset {
      return
    } else if ahead > 0 {
      move()
    } else if length > 0 {
      countRetransmission(number, isOriginator)
    }
  }
}
