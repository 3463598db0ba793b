import Evidence

/// Which letters a side has written.
struct HistoryBit {
  static let syn: UInt8 = 1
  static let fin: UInt8 = 2
  static let rst: UInt8 = 4
  static let finRST: UInt8 = 8
  static let data: UInt8 = 16
  static let ack: UInt8 = 32
  static let several: UInt8 = 64
}

/// Zeek's `history` (`update_history`, `Session::CheckHistory`, `ScaledHistoryEntry`).
extension Tracker {
  /// Letters of an attack are not kept without end.
  private static var longestHistory: Int { 4096 }

  mutating func addHistory(_ number: UInt32, _ letter: UInt8) {
    let record = table.records[number]
    if record.pointee.history.count < PackedHistory.capacity {
      record.pointee.history.append(letter)
      return
    }
    record.pointee.marks.insert(.longHistory)
    if longHistories[number, default: []].count < Self.longestHistory {
      longHistories[number, default: []].append(letter)
    }
  }

  func history(_ number: UInt32) -> String {
    let record = table.records[number]
    let packed = record.pointee.history
    let head = String(unsafeUninitializedCapacity: PackedHistory.capacity) { bytes in
      var length = 0
      while length < packed.count {
        bytes[length] = packed[length]
        length += 1
      }
      return length
    }
    guard record.pointee.marks.contains(.longHistory), let tail = longHistories[number] else {
      return head
    }
    return head + String(decoding: tail, as: UTF8.self)
  }

  /// Upper case for the originator.
  @inline(__always)
  private func letter(_ upper: Unicode.Scalar, _ isOriginator: Bool) -> UInt8 {
    UInt8(truncatingIfNeeded: upper.value) | (isOriginator ? 0 : 0x20)
  }

  @inline(__always)
  mutating func writeHistory(
    _ number: UInt32, _ sender: SidePointer, _ isOriginator: Bool, _ flags: TCPFlags,
    _ relative: UInt64, _ length: UInt32
  ) {
    let control = flags.intersection([.syn, .fin, .rst])
    if control.isEmpty {
      if length > 0 {
        once(number, sender, isOriginator, HistoryBit.data, "D")
      } else if flags.contains(.ack) {
        once(number, sender, isOriginator, HistoryBit.ack, "A")
      }
    } else {
      writeControl(number, sender, isOriginator, flags, relative, length)
    }
  }

  private mutating func writeControl(
    _ number: UInt32, _ sender: SidePointer, _ isOriginator: Bool, _ flags: TCPFlags,
    _ relative: UInt64, _ length: UInt32
  ) {
    if flags.isSuperset(of: [.fin, .rst]) {
      once(number, sender, isOriginator, HistoryBit.finRST, "I")
    } else if flags.isSuperset(of: [.syn, .fin]) || flags.isSuperset(of: [.syn, .rst]) {
      once(number, sender, isOriginator, HistoryBit.several, "Q")
    } else if flags.contains(.syn) {
      let code: Unicode.Scalar = flags.contains(.ack) ? "H" : "S"
      again(number, sender, isOriginator, HistoryBit.syn, code, relative, \.lastSYN)
    } else if flags.contains(.fin) {
      // A FIN stands behind the data of its packet.
      again(
        number, sender, isOriginator, HistoryBit.fin, "F", relative &+ UInt64(length), \.lastFIN)
    } else {
      again(number, sender, isOriginator, HistoryBit.rst, "R", relative, \.lastRST)
    }
  }

  /// Written at most one time a direction.
  @inline(__always)
  private mutating func once(
    _ number: UInt32, _ sender: SidePointer, _ isOriginator: Bool, _ bit: UInt8,
    _ code: Unicode.Scalar
  ) {
    if sender.pointee.history & bit == 0 {
      sender.pointee.history |= bit
      addHistory(number, letter(code, isOriginator))
    }
  }

  /// Written again when the sequence number differs from the last such packet's.
  private mutating func again(
    _ number: UInt32, _ sender: SidePointer, _ isOriginator: Bool, _ bit: UInt8,
    _ code: Unicode.Scalar, _ position: UInt64, _ last: WritableKeyPath<SideEnding, UInt64>
  ) {
    let kept = table.records[number].pointee.ending
    let previous =
      kept == 0
      ? 0
      : isOriginator
        ? endings[kept].pointee.originator[keyPath: last]
        : endings[kept].pointee.responder[keyPath: last]
    if sender.pointee.history & bit == 0 {
      sender.pointee.history |= bit
      addHistory(number, letter(code, isOriginator))
    } else if position != previous {
      addHistory(number, letter(code, isOriginator))
    }
    if position != previous { rare(number, isOriginator).pointee[keyPath: last] = position }
  }

  /// What is rarely needed of a side.
  private mutating func rare(
    _ number: UInt32, _ isOriginator: Bool
  ) -> UnsafeMutablePointer<SideEnding> {
    let ending = UnsafeMutableRawPointer(self.ending(number))
    let offset = isOriginator ? Ending.originatorOffset : Ending.responderOffset
    return (ending + offset).assumingMemoryBound(to: SideEnding.self)
  }

  /// Written at the first, the tenth, the hundredth time and so on.
  mutating func scaled(
    _ number: UInt32, _ isOriginator: Bool, _ code: Unicode.Scalar, _ count: UInt32
  ) {
    switch count {
    case 1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000:
      addHistory(number, letter(code, isOriginator))
    default: break
    }
  }

  /// The connection's `Extras`, made when they are first needed.
  mutating func extras(
    _ record: UnsafeMutablePointer<Record>
  ) -> UnsafeMutablePointer<Extras> {
    if record.pointee.extras == 0 { record.pointee.extras = table.extras.take(Extras()) }
    return table.extras[record.pointee.extras]
  }

  private mutating func tally(
    _ number: UInt32, _ isOriginator: Bool
  ) -> UnsafeMutablePointer<Extras.Side> {
    let sides = UnsafeMutableRawPointer(extras(table.records[number]))
      .assumingMemoryBound(to: Extras.Side.self)
    return isOriginator ? sides : sides + 1
  }

  mutating func countRetransmission(_ number: UInt32, _ isOriginator: Bool) {
    let tally = tally(number, isOriginator)
    tally.pointee.retransmissions &+= 1
    scaled(number, isOriginator, "T", tally.pointee.retransmissions)
    let sender = sides(number, isOriginator).sender
    if sender.pointee.unanswered != .max { sender.pointee.unanswered += 1 }
  }

  mutating func countZeroWindow(_ number: UInt32, _ isOriginator: Bool) {
    let tally = tally(number, isOriginator)
    tally.pointee.zeroWindows &+= 1
    scaled(number, isOriginator, "W", tally.pointee.zeroWindows)
  }

  mutating func countGap(
    _ number: UInt32, _ record: UnsafeMutablePointer<Record>, _ isOriginator: Bool
  ) {
    let gaps = Self.gaps(record, isOriginator: isOriginator)
    gaps.pointee &+= 1
    scaled(number, isOriginator, "G", gaps.pointee)
  }

  @inline(__always)
  static func gaps(
    _ record: UnsafeMutablePointer<Record>, isOriginator: Bool
  ) -> UnsafeMutablePointer<UInt32> {
    let both = (UnsafeMutableRawPointer(record) + Record.gapsOffset)
      .assumingMemoryBound(to: UInt32.self)
    return isOriginator ? both : both + 1
  }

  /// The connection's `Ending`, made when it is first needed.
  mutating func ending(_ number: UInt32) -> UnsafeMutablePointer<Ending> {
    let record = table.records[number]
    if record.pointee.ending == 0 { record.pointee.ending = endings.take(Ending()) }
    return endings[record.pointee.ending]
  }
}
