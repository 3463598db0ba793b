import CLinux
import Evidence

/// When a connection is over, by packet time.
extension Tracker {
  /// Enters the connection's next deadline, if it is earlier than the one that stands.
  mutating func schedule(_ number: UInt32) {
    let record = table.records[number]
    let due = nextDeadline(number)
    let tick = Timers.tick(due)
    // Within the same tick the later one may be the one that stands.
    if !record.pointee.marks.contains(.scheduled)
      || !Timers.isBefore(record.pointee.scheduled, tick)
    {
      record.pointee.marks.insert(.scheduled)
      record.pointee.scheduled = tick
      timers.push(due, number, now: now)
    }
  }

  private func nextDeadline(_ number: UInt32) -> Int64 {
    let record = table.records[number]
    let marks = record.pointee.marks
    var due = min(record.pointee.expire, record.pointee.report)
    if marks.contains(.attempt) {
      due = min(due, record.pointee.first &+ options.attemptDelay.nanoseconds)
    }
    due = min(due, record.pointee.last &+ inactivity(record))
    if record.pointee.ending != 0 {
      let ending = endings[record.pointee.ending]
      due = min(due, ending.pointee.expire, ending.pointee.delete)
    }
    return due
  }

  private func inactivity(_ record: UnsafeMutablePointer<Record>) -> Int64 {
    guard record.pointee.marks.contains(.established) else {
      return options.handshakeInactivityTimeout.nanoseconds
    }
    if record.pointee.marks.contains(.interactive) {
      return max(options.inactivityTimeout, options.interactiveInactivityTimeout).nanoseconds
    }
    return options.inactivityTimeout.nanoseconds
  }

  mutating func runTimers() {
    while let (time, number) = nextTimer() {
      let record = table.records[number]
      guard record.pointee.id != 0, record.pointee.marks.contains(.scheduled),
        record.pointee.scheduled == Timers.tick(time)
      else { continue }
      record.pointee.marks.remove(.scheduled)
      if let reason = check(number) {
        end(number, reason)
      } else {
        schedule(number)
      }
    }
  }

  private mutating func nextTimer() -> (time: Int64, number: UInt32)? {
    let records = table.records.blockTable
    let endings = endings.blockTable
    return timers.pop(until: now) { number, isNext in
      let record = records[number]
      if isNext {
        let ending = UnsafeRawPointer(endings[record.pointee.ending])
        for line in 0..<3 { clinux_prefetch(ending + line * 64) }
      } else {
        for line in 0..<4 { clinux_prefetch(UnsafeRawPointer(record) + line * 64) }
      }
    }
  }

  /// - Returns: why the connection is over; nil when it is not.
  private mutating func check(_ number: UInt32) -> EndReason? {
    let record = table.records[number]
    if record.pointee.report <= now { reportLive(number) }
    let o = record.pointee.originator.state
    let r = record.pointee.responder.state
    if record.pointee.marks.contains(.attempt),
      record.pointee.first &+ options.attemptDelay.nanoseconds <= now
    {
      record.pointee.marks.remove(.attempt)
      if record.pointee.marks.contains(.active), o == .synSent || o == .synAckSent, r == .inactive {
        return .unanswered
      }
    }
    if record.pointee.expire <= now {
      record.pointee.expire = .max
      if record.pointee.marks.contains(.active) {
        if isExpired(record) { return .lingered }
        record.pointee.expire = now &+ options.sessionTimer.nanoseconds
      }
    }
    if record.pointee.ending != 0 {
      let ending = endings[record.pointee.ending]
      if ending.pointee.expire <= now {
        ending.pointee.expire = .max
        if record.pointee.marks.contains(.active) {
          if isExpired(record) { return .lingered }
          ending.pointee.expire = now &+ options.sessionTimer.nanoseconds
        }
      }
      if ending.pointee.delete <= now { return .closed }
    }
    if record.pointee.last &+ inactivity(record) <= now { return .inactive }
    return nil
  }

  /// `TCPSessionAdapter::ExpireTimer`
  private func isExpired(_ record: UnsafeMutablePointer<Record>) -> Bool {
    guard record.pointee.last &+ options.connectionLinger.nanoseconds < now else { return false }
    let o = record.pointee.originator
    let r = record.pointee.responder
    let originatorClosed = o.marks.contains(.closed)
    let responderClosed = r.marks.contains(.closed)
    if originatorClosed || responderClosed {
      if originatorClosed && responderClosed || o.state == .reset || r.state == .reset
        || o.state == .inactive || r.state == .inactive
      {
        return true
      }
    }
    return o.state == .inactive && r.state == .inactive
  }

  enum EndReason {
    /// Zeek's timers.
    case unanswered, lingered, closed, inactive
    /// Another connection took its tuple.
    case reused
    case evicted
    /// The capture is over.
    case finished
  }

  /// Tells the connection and forgets it.
  mutating func end(_ number: UInt32, _ reason: EndReason) {
    if options.live != nil {
      reportLast(number, reason)
    } else {
      report(describe(number, reason))
    }
    let record = table.records[number]
    let sides = sides(number, true)
    dropAllRanges(sides.sender)
    dropAllRanges(sides.receiver)
    lines.drop(record.pointee.requestLine)
    if record.pointee.ending != 0 { endings.giveBack(record.pointee.ending) }
    if record.pointee.marks.contains(.longHistory) { longHistories[number] = nil }
    table.remove(number)
  }

  // MARK: Room

  /// Forgets the connection that was idle longest. The table is searched once for a sixteenth of its
  /// connections, so that a full table stays fast.
  mutating func evict() {
    while true {
      while let oldest = evictionQueue.popLast() {
        let record = table.records[oldest.number]
        guard record.pointee.id == oldest.id, activity(record) == oldest.last else { continue }
        counters.evicted &+= 1
        end(oldest.number, .evicted)
        return
      }
      guard table.count > 0 else { return }
      var all: [(last: Int64, id: UInt64, number: UInt32)] = []
      all.reserveCapacity(table.count)
      for number in table.numbers {
        let record = table.records[number]
        all.append((activity(record), record.pointee.id, number))
      }
      all.sort { ($0.last, $0.id) > ($1.last, $1.id) }
      evictionQueue = Array(all.suffix(max(1, all.count / 16)))
    }
  }

  private func activity(_ record: UnsafeMutablePointer<Record>) -> Int64 {
    guard record.pointee.ending != 0 else { return record.pointee.last }
    return max(record.pointee.last, endings[record.pointee.ending].pointee.trailing)
  }
}
