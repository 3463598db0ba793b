import Evidence
import Glibc

/// Requests and responses: which side spoke last, and whether the answer is complete.
///
/// The rule is one of turns: a request begins when the originator speaks after the responder did.
/// Where that is no exchange (TLS records of the handshake, HTTP/2, an interim response, pipelining,
/// an upgrade) the count is withdrawn, not guessed. For HTTP/1 the first bytes of a response tell how
/// long it will be, so that an answer cut short is known from a complete one.
extension Tracker {
  /// Takes what our own conclusions need from a packet that Zeek's machine has already seen.
  /// - Parameter ahead: how far the segment's end lies beyond what its sender had sent before.
  mutating func understand(
    _ number: UInt32, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>, ahead: Int32
  ) {
    let record = table.records[number]
    let (sender, receiver) = sides(number, isOriginator)
    receiver.pointee.unanswered = 0
    let flags = segment.pointee.flags
    let isControl = !flags.isDisjoint(with: [.syn, .fin, .rst])
    if segment.pointee.payloadLength > 0, !flags.contains(.rst), ahead > 0 {
      let own: Int32 = (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0)
      let fresh = min(segment.pointee.payloadLength, UInt32(max(0, ahead - own)))
      if fresh > 0 {
        if isOriginator {
          requestData(number, record, segment, fresh)
        } else {
          let isNext = ahead &- own <= Int32(bitPattern: segment.pointee.payloadLength)
          responseData(record, segment, fresh, isNext: isNext)
        }
      }
    }
    if isControl || record.pointee.handshake != 0, !record.pointee.marks.contains(.measured) {
      measureHandshake(record, isOriginator, segment)
    }
    if isControl || record.pointee.marks.contains(.closing) {
      followClose(number, isOriginator, segment)
    }
    if isOriginator, record.pointee.synAckDelay >= Self.leastTellingDelay {
      noteSent(record, segment)
    }
    sender.pointee.identification = segment.pointee.identification
    if options.live != nil { planReport(number, isOriginator, segment) }
  }

  /// SYN to SYN-ACK, and SYN to the ACK that completes the handshake.
  private func measureHandshake(
    _ record: UnsafeMutablePointer<Record>, _ isOriginator: Bool, _ segment: UnsafePointer<Segment>
  ) {
    let flags = segment.pointee.flags
    if flags.contains(.syn) {
      if isOriginator, !flags.contains(.ack) {
        record.pointee.marks.insert(.sawSYN)
        // Of several SYNs the last is the one that was answered.
        record.pointee.handshake = segment.pointee.time
      } else if !isOriginator, flags.contains(.ack) {
        record.pointee.marks.insert(.sawSYNACK)
        record.pointee.responder.timeToLive = segment.pointee.timeToLive
        if record.pointee.handshake != 0, record.pointee.synAckDelay == 0 {
          let delay = (segment.pointee.time &- record.pointee.handshake) / 1000
          record.pointee.synAckDelay = UInt32(clamping: delay)
        }
      }
    } else if isOriginator, flags.contains(.ack), !flags.contains(.rst),
      record.pointee.marks.contains(.sawSYNACK), record.pointee.handshake != 0
    {
      record.pointee.handshake = max(1, segment.pointee.time &- record.pointee.handshake)
      record.pointee.marks.insert(.measured)
    }
  }

  // MARK: The originator speaks

  mutating func requestData(
    _ number: UInt32, _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>,
    _ fresh: UInt32
  ) {
    if !record.pointee.exchangeMarks.contains(.classified) { classify(record, segment) }
    let marks = record.pointee.exchangeMarks
    if marks.contains(.tls), !marks.contains(.tlsEstablished) {
      followTLSHandshake(record, segment)
      if !record.pointee.exchangeMarks.contains(.tlsEstablished)
        || segment.pointee.payload.first != 0x17
      {
        record.pointee.lastPayload = segment.pointee.time
        return
      }
    }
    let idleSince = record.pointee.lastPayload
    record.pointee.lastPayload = segment.pointee.time
    if marks.contains(.open) {
      record.pointee.requestBytes &+= UInt64(fresh)
      if marks.contains(.http1), HTTP.isRequestLine(segment.pointee.payload) {
        // A second request before the first was answered.
        record.pointee.exchangeMarks.insert(.uncountable)
      }
      return
    }
    if marks.contains(.http1), record.pointee.responseBytes > 0,
      isAnswered(record) != true || record.pointee.exchange.isRequestCut,
      segment.pointee.payload.count > 0,
      !HTTP.startsWithMethod(segment.pointee.payload)
    {
      // The rest of a request whose answer came early.
      record.pointee.requestBytes &+= UInt64(fresh)
      return
    }
    if options.countsReuse, marks.isDisjoint(with: [.uncountable, .http2]),
      record.pointee.responseBytes > 0, isAnswered(record) != false
    {
      countReuse(record, idleSince: idleSince, segment)
    }
    beginRequest(number, record, segment, fresh)
  }

  private mutating func beginRequest(
    _ number: UInt32, _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>,
    _ fresh: UInt32
  ) {
    record.pointee.exchangeCount &+= 1
    record.pointee.requestTime = segment.pointee.time
    record.pointee.requestStart =
      segment.pointee.sequence &+ (segment.pointee.payloadLength &- fresh)
    record.pointee.requestBytes = UInt64(fresh)
    record.pointee.responseBytes = 0
    record.pointee.requestLength = -1
    record.pointee.responseLength = -1
    record.pointee.exchangeMarks.subtract(.ofExchange)
    record.pointee.exchangeMarks.formUnion([.open, .begun])
    let payload = segment.pointee.payload
    guard record.pointee.exchangeMarks.contains(.http1), fresh == segment.pointee.payloadLength,
      let line = HTTP.methodAndTarget(payload)
    else {
      lines.drop(record.pointee.requestLine)
      record.pointee.requestLine = 0
      return
    }
    keepLine(line, number, record)
    if HTTP.isHEAD(payload) { record.pointee.exchangeMarks.insert(.head) }
    record.pointee.requestLength = HTTP.requestLength(payload)
  }

  /// Keeps a request's line; where there is no room, in place of one that was answered as far as can be
  /// told.
  private mutating func keepLine(
    _ line: UnsafeRawBufferPointer, _ number: UInt32, _ record: UnsafeMutablePointer<Record>
  ) {
    let records = table.records.blockTable
    let kept = record.pointee.requestLine
    record.pointee.requestLine = lines.keep(line, kept, for: number) { owner in
      let other = records[owner]
      guard !other.pointee.exchangeMarks.contains(.open) else { return false }
      other.pointee.requestLine = 0
      return true
    }
  }

  /// What is spoken, from the first payload of the originator.
  private func classify(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let payload = segment.pointee.payload
    guard payload.count > 0 else { return }
    record.pointee.exchangeMarks.insert(.classified)
    if payload.count >= 2, payload[0] == 0x16, payload[1] == 0x03 {
      record.pointee.exchangeMarks.formUnion([.tls, .uncountable])
    } else if payload.count >= 2, payload[0] == 0x17, payload[1] == 0x03 {
      // Met in the middle of it.
      record.pointee.exchangeMarks.formUnion([.tls, .tlsEstablished, .uncountable])
    } else if HTTP.isHTTP2Preface(payload) {
      record.pointee.exchangeMarks.formUnion([.http2, .uncountable])
    } else if HTTP.startsWithMethod(payload) {
      record.pointee.exchangeMarks.insert(.http1)
    }
  }

  /// The handshake is over for the originator when it sends its Finished (TLS 1.3: behind a
  /// ChangeCipherSpec record) or application data.
  private func followTLSHandshake(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    guard let type = segment.pointee.payload.first else { return }
    if type == 0x17 || type == 0x14 { record.pointee.exchangeMarks.insert(.tlsEstablished) }
  }

  // MARK: The responder speaks

  /// - Parameter isNext: the segment follows what was seen before, without a hole.
  mutating func responseData(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ fresh: UInt32,
    isNext: Bool
  ) {
    let marks = record.pointee.exchangeMarks
    if marks.contains(.tls), marks.contains(.tlsEstablished), segment.pointee.payloadLength <= 31 {
      // An alert (close_notify) is no answer, and no sign that the connection was in use.
      return
    }
    record.pointee.lastPayload = segment.pointee.time
    if record.pointee.requestTime == 0 { return }
    if marks.contains(.open) {
      record.pointee.exchangeMarks.remove(.open)
      record.pointee.responseBytes = UInt64(fresh)
      if options.countsReuse, marks.isDisjoint(with: [.uncountable, .http2]) {
        countAnswer(record, segment)
      }
      if marks.contains(.http1) { beginResponse(record, segment) }
    } else {
      if marks.contains(.inHeader) { followHeader(record, segment, fresh, isNext: isNext) }
      record.pointee.responseBytes &+= UInt64(fresh)
    }
    if marks.contains(.http1) { followResponse(record, segment) }
  }

  /// Notes the end of a response, and lets go of the request's line.
  @inline(__always)
  private mutating func followResponse(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    if record.pointee.exchangeMarks.contains(.chunked) {
      if segment.pointee.payload.count < Int(segment.pointee.payloadLength) {
        // The end of the chunk was not captured: nobody knows whether it was the last.
        record.pointee.exchangeMarks.subtract([.chunked, .lastChunk])
      } else if HTTP.endsWithLastChunk(segment.pointee.payload) {
        record.pointee.exchangeMarks.insert(.lastChunk)
      } else {
        record.pointee.exchangeMarks.remove(.lastChunk)
      }
    }
    if record.pointee.requestLine != 0, isAnswered(record) == true {
      lines.drop(record.pointee.requestLine)
      record.pointee.requestLine = 0
    }
  }

  /// Whether the last request got its whole answer; nil when the capture cannot tell.
  @inline(__always)
  func isAnswered(_ record: UnsafeMutablePointer<Record>) -> Bool? {
    let marks = record.pointee.exchangeMarks
    if !marks.isDisjoint(with: [.open, .inHeader]) { return false }
    if record.pointee.responseBytes == 0 { return false }
    if marks.contains(.chunked) { return marks.contains(.lastChunk) }
    guard record.pointee.responseLength >= 0 else { return nil }
    return record.pointee.responseBytes >= UInt64(record.pointee.responseLength)
  }
}
