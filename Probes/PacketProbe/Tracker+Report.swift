import Evidence

/// From a record to a `Connection`, and when it is told.
extension Tracker {
  func describe(_ number: UInt32, _ reason: EndReason?) -> Connection {
    let record = table.records[number]
    let history = self.history(number)
    var connection = Connection(
      id: record.pointee.id, flow: flow(record), connState: connState(number, history: history),
      history: history, firstPacket: Timestamp(nanoseconds: record.pointee.first),
      lastPacket: Timestamp(nanoseconds: record.pointee.last))
    let duration = record.pointee.last &- record.pointee.first
    if duration > 0 {
      connection.duration = TimeSpan(nanoseconds: duration)
      connection.originatorBytes = size(number, true)
      connection.responderBytes = size(number, false)
    }
    connection.originatorPackets = UInt64(record.pointee.originator.packets)
    connection.responderPackets = UInt64(record.pointee.responder.packets)
    if record.pointee.marks.contains(.measured) {
      connection.rtt = TimeSpan(nanoseconds: record.pointee.handshake)
    }
    connection.sawStart = record.pointee.marks.contains(.sawSYN)
    describeExchange(record, &connection)
    if record.pointee.ending != 0 { describeEnding(number, &connection) }
    if connection.closedAt == nil { describeOpen(number, reason, &connection) }
    connection.requestDelivery = delivery(number, connection)
    // An idle connection's request is over and done with; but one that the originator closes as soon as
    // it has the answer may have been closed because of it.
    let closesAtOnce =
      connection.closer == .originator
      && connection.idleBeforeClose.map { $0 < .milliseconds(20) } ?? false
    if connection.phase == .idle, isAnswered(record) != false, !closesAtOnce {
      connection.request = nil
    }
    if isLight(record) { describeLight(number, &connection) }
    return connection
  }

  private func flow(_ record: UnsafeMutablePointer<Record>) -> Flow {
    Flow(originator: table.originator(record), responder: table.responder(record))
  }

  private func describeExchange(
    _ record: UnsafeMutablePointer<Record>, _ connection: inout Connection
  ) {
    let exchange = record.pointee.exchange
    if !exchange.marks.contains(.uncountable), record.pointee.marks.contains(.sawSYN) {
      connection.exchanges = Int(exchange.count)
    }
    guard exchange.requestTime != 0, !exchange.marks.contains(.http2) else { return }
    connection.requestSentAt = Timestamp(nanoseconds: exchange.requestTime)
    connection.requestBytes = exchange.requestBytes
    connection.responseBytes = exchange.responseBytes
    if exchange.line != 0 { connection.request = lines.read(exchange.line) }
  }

  private func describeEnding(_ number: UInt32, _ connection: inout Connection) {
    let record = table.records[number]
    let ending = endings[record.pointee.ending].pointee
    if ending.trailing != 0 {
      connection.lastPacket = Timestamp(nanoseconds: max(ending.trailing, record.pointee.last))
    }
    connection.originatorFIN = Self.time(ending.fin.0)
    connection.responderFIN = Self.time(ending.fin.1)
    connection.originatorReset = Self.reset(ending.reset.0, ending.resetKind.0)
    connection.responderReset = Self.reset(ending.reset.1, ending.resetKind.1)
    connection.forgeryMarks = ending.forgery.words
    guard ending.closedAt != 0 else { return }
    connection.closedAt = Timestamp(nanoseconds: ending.closedAt)
    connection.closer = ending.closedByOriginator ? .originator : .responder
    if ending.closedByReset {
      connection.manner =
        ending.closedByOriginator
        ? connection.originatorReset?.manner : connection.responderReset?.manner
      if !ending.closedByOriginator, !ending.forgery.isEmpty { connection.closer = .middlebox }
    } else {
      connection.manner = .fin
    }
    connection.phase = Phase(code: ending.phase)
    if ending.idle >= 0 { connection.idleBeforeClose = TimeSpan(nanoseconds: ending.idle) }
    let exchange = record.pointee.exchange
    connection.requestAfterFIN =
      ending.fin.1 != 0 && exchange.requestTime != 0 && exchange.marks.contains(.open)
      && !exchange.marks.contains(.http2)
      && !Self.isBefore(exchange.requestStart, ending.finAcknowledged)
  }

  private static func time(_ nanoseconds: Int64) -> Timestamp? {
    nanoseconds == 0 ? nil : Timestamp(nanoseconds: nanoseconds)
  }

  private static func reset(_ nanoseconds: Int64, _ kind: UInt8) -> Reset? {
    guard nanoseconds != 0, let manner = Manner(code: kind) else { return nil }
    return Reset(time: Timestamp(nanoseconds: nanoseconds), manner: manner)
  }

  /// A connection that nobody closed: open, or silent until it was given up.
  private func describeOpen(
    _ number: UInt32, _ reason: EndReason?, _ connection: inout Connection
  ) {
    let record = table.records[number]
    let exchange = record.pointee.exchange
    if isConnecting(record) {
      connection.phase = .connecting
    } else if exchange.marks.contains(.tls), !exchange.marks.contains(.tlsEstablished) {
      connection.phase = .tlsHandshake
    } else if exchange.marks.contains(.open), !exchange.marks.contains(.http2) {
      let sent = exchange.requestStart &+ UInt32(truncatingIfNeeded: exchange.requestBytes)
      connection.phase =
        Self.isBefore(record.pointee.originator.acknowledged, sent) || exchange.isRequestCut
        ? .sendingRequest : .awaitingResponse
    } else if exchange.requestTime != 0, isAnswered(record) == false {
      connection.phase = .receivingResponse
    }
    let isUnanswered =
      record.pointee.originator.state == .synSent && record.pointee.responder.state == .inactive
    let retransmits = max(
      record.pointee.originator.unanswered, record.pointee.responder.unanswered)
    let isGivenUp = reason == .unanswered || reason == .inactive || reason == .evicted
    let isLate = options.live != nil && reason == nil
    if isUnanswered && (isGivenUp || isLate || record.pointee.originator.packets > 1)
      || retransmits >= 3
    {
      connection.closer = .unknown
      connection.manner = .timeout
    }
  }

  // MARK: Delivery

  /// What the responder's kernel did with the request that got no whole answer.
  private func delivery(_ number: UInt32, _ connection: Connection) -> RequestDelivery {
    let record = table.records[number]
    let exchange = record.pointee.exchange
    if exchange.marks.contains(.http2) { return .unknown }
    if exchange.requestTime == 0 {
      // Midstream, a request may have gone before the capture began.
      return connection.sawStart ? .neverSent : .unknown
    }
    if !exchange.marks.contains(.open) {
      if exchange.isRequestCut { return .partlyAcknowledged }
      if connection.phase == .unknown { return .unknown }
      return isAnswered(record) == false || connection.phase == .receivingResponse
        ? .acknowledged : .neverSent
    }
    let end = exchange.requestStart &+ UInt32(truncatingIfNeeded: exchange.requestBytes)
    var seen = record.pointee.originator.acknowledged
    var isRejected = false
    if record.pointee.ending != 0 {
      let ending = endings[record.pointee.ending].pointee
      if ending.reset.1 != 0, ending.forgery.isEmpty {
        if ending.resetHasAcknowledgement, Self.isBefore(seen, ending.resetAcknowledged),
          !Self.isBefore(record.pointee.originator.last, ending.resetAcknowledged)
        {
          seen = ending.resetAcknowledged
        }
        isRejected =
          ending.resetKind.1 == Manner.passiveReset.code
          && ending.reset.1 >= exchange.requestTime
      }
    }
    if !Self.isBefore(seen, end) {
      return exchange.isRequestCut ? .partlyAcknowledged : .acknowledged
    }
    if Self.isBefore(exchange.requestStart, seen) { return .partlyAcknowledged }
    return isRejected ? .rejected : .unknown
  }

  // MARK: Live

  /// Decides when the connection is told next, after a packet of it.
  mutating func planReport(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    guard let live = options.live else { return }
    let record = table.records[number]
    var due = Int64.max
    if record.pointee.ending != 0, endings[record.pointee.ending].pointee.closedAt != 0 {
      let ending = endings[record.pointee.ending].pointee
      let isFinal =
        ending.reset.0 != 0 || ending.reset.1 != 0 || ending.fin.0 != 0 && ending.fin.1 != 0
      if record.pointee.marks.contains(.reported) || isFinal {
        due = segment.pointee.time &+ live.linger.nanoseconds
      } else {
        due = ending.closedAt &+ live.halfClosed.nanoseconds
      }
    } else if record.pointee.originator.state == .synSent,
      record.pointee.responder.state == .inactive
    {
      let wait = record.pointee.originator.packets > 1 ? live.linger : live.unanswered
      due = segment.pointee.time &+ wait.nanoseconds
    } else if record.pointee.marks.contains(.reported)
      || max(record.pointee.originator.unanswered, record.pointee.responder.unanswered) >= 3
    {
      // Silence, or an answer after a silence that was told.
      due = segment.pointee.time &+ live.linger.nanoseconds
    } else if record.pointee.report != .max {
      // A SYN that was to be told as unanswered was answered.
      record.pointee.report = .max
    }
    if due < record.pointee.report {
      record.pointee.report = due
      schedule(number)
    }
  }

  mutating func reportLive(_ number: UInt32) {
    let record = table.records[number]
    record.pointee.report = .max
    if countsOnly(number) { return }
    let connection = describe(number, nil)
    if connection.closedAt != nil || connection.manner == .timeout {
      record.pointee.marks.insert(.reported)
      report(connection)
    } else if record.pointee.marks.contains(.reported) {
      // What looked like silence was not: said once, and not for every packet.
      record.pointee.marks.remove(.reported)
      report(connection)
    }
  }

  /// A connection leaves the table: what was not yet told of it is told.
  mutating func reportLast(_ number: UInt32, _ reason: EndReason) {
    let record = table.records[number]
    let isPending = record.pointee.report != .max
    if record.pointee.marks.contains(.reported), !isPending { return }
    let connection = describe(number, reason)
    if connection.closedAt != nil || connection.manner == .timeout { report(connection) }
  }
}

extension Ending.Forgery {
  var words: [String] {
    if isEmpty { return [] }
    var words: [String] = []
    if contains(.timeToLive) { words.append("time to live differs from the responder's SYN-ACK") }
    if contains(.wentOn) { words.append("the responder went on after it") }
    if contains(.identification) { words.append("IP identification copied from the originator") }
    if contains(.tooSoon) { words.append("sooner than the round trip") }
    return words
  }
}
