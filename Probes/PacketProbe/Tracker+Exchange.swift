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
  @inline(__always)
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
          requestData(record, segment, fresh)
        } else {
          responseData(record, segment, fresh)
        }
      }
    }
    if isControl || record.pointee.handshake != 0, !record.pointee.marks.contains(.measured) {
      measureHandshake(record, isOriginator, segment)
    }
    if isControl || record.pointee.marks.contains(.closing) {
      followClose(number, isOriginator, segment)
    }
    if isOriginator {
      let gap = (segment.pointee.time &- record.pointee.originatorSent) / 1000
      record.pointee.originatorGap = UInt32(clamping: gap)
      record.pointee.originatorSent = segment.pointee.time
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

  @inline(__always)
  private mutating func requestData(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ fresh: UInt32
  ) {
    if !record.pointee.exchange.marks.contains(.classified) { classify(record, segment) }
    let marks = record.pointee.exchange.marks
    if marks.contains(.tls), !marks.contains(.tlsEstablished) {
      followTLSHandshake(record, segment)
      if !record.pointee.exchange.marks.contains(.tlsEstablished)
        || segment.pointee.payload.first != 0x17
      {
        record.pointee.lastPayload = segment.pointee.time
        return
      }
    }
    let idleSince = record.pointee.lastPayload
    record.pointee.lastPayload = segment.pointee.time
    if marks.contains(.open) {
      record.pointee.exchange.requestBytes &+= UInt64(fresh)
      if marks.contains(.http1), HTTP.isRequestLine(segment.pointee.payload) {
        // A second request before the first was answered.
        record.pointee.exchange.marks.insert(.uncountable)
      }
      return
    }
    if marks.contains(.http1), record.pointee.exchange.responseBytes > 0,
      isAnswered(record.pointee.exchange) != true || record.pointee.exchange.isRequestCut,
      segment.pointee.payload.count > 0,
      !HTTP.startsWithMethod(segment.pointee.payload)
    {
      // The rest of a request whose answer came early.
      record.pointee.exchange.requestBytes &+= UInt64(fresh)
      return
    }
    if options.countsReuse, marks.isDisjoint(with: [.uncountable, .http2]),
      record.pointee.exchange.responseBytes > 0, isAnswered(record.pointee.exchange) != false
    {
      countReuse(record, idleSince: idleSince, segment)
    }
    beginRequest(record, segment, fresh)
  }

  private mutating func beginRequest(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ fresh: UInt32
  ) {
    lines.drop(record.pointee.exchange.line)
    var exchange = record.pointee.exchange
    exchange.line = 0
    exchange.count &+= 1
    exchange.requestTime = segment.pointee.time
    exchange.requestStart = segment.pointee.sequence &+ (segment.pointee.payloadLength &- fresh)
    exchange.requestBytes = UInt64(fresh)
    exchange.responseBytes = 0
    exchange.requestLength = -1
    exchange.responseLength = -1
    exchange.marks.subtract([.head, .chunked, .lastChunk])
    exchange.marks.insert(.open)
    if exchange.marks.contains(.http1), fresh == segment.pointee.payloadLength {
      if let line = HTTP.methodAndTarget(segment.pointee.payload) {
        exchange.line = lines.keep(line)
        if HTTP.isHEAD(segment.pointee.payload) { exchange.marks.insert(.head) }
        exchange.requestLength = HTTP.requestLength(segment.pointee.payload)
      }
    }
    record.pointee.exchange = exchange
  }

  /// What is spoken, from the first payload of the originator.
  private func classify(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let payload = segment.pointee.payload
    guard payload.count > 0 else { return }
    record.pointee.exchange.marks.insert(.classified)
    if payload.count >= 2, payload[0] == 0x16, payload[1] == 0x03 {
      record.pointee.exchange.marks.formUnion([.tls, .uncountable])
    } else if payload.count >= 2, payload[0] == 0x17, payload[1] == 0x03 {
      // Met in the middle of it.
      record.pointee.exchange.marks.formUnion([.tls, .tlsEstablished, .uncountable])
    } else if HTTP.isHTTP2Preface(payload) {
      record.pointee.exchange.marks.formUnion([.http2, .uncountable])
    } else if HTTP.startsWithMethod(payload) {
      record.pointee.exchange.marks.insert(.http1)
    }
  }

  /// The handshake is over for the originator when it sends its Finished (TLS 1.3: behind a
  /// ChangeCipherSpec record) or application data.
  private func followTLSHandshake(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    guard let type = segment.pointee.payload.first else { return }
    if type == 0x17 || type == 0x14 { record.pointee.exchange.marks.insert(.tlsEstablished) }
  }

  // MARK: The responder speaks

  @inline(__always)
  private mutating func responseData(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ fresh: UInt32
  ) {
    let marks = record.pointee.exchange.marks
    if marks.contains(.tls), marks.contains(.tlsEstablished), segment.pointee.payloadLength <= 31 {
      // An alert (close_notify) is no answer, and no sign that the connection was in use.
      return
    }
    record.pointee.lastPayload = segment.pointee.time
    if record.pointee.exchange.requestTime == 0 { return }
    if marks.contains(.open) {
      record.pointee.exchange.marks.remove(.open)
      record.pointee.exchange.responseBytes = UInt64(fresh)
      if options.countsReuse, marks.isDisjoint(with: [.uncountable, .http2]) {
        countAnswer(record, segment)
      }
      if marks.contains(.http1) { beginResponse(record, segment) }
    } else {
      record.pointee.exchange.responseBytes &+= UInt64(fresh)
    }
    if marks.contains(.http1) { followResponse(record, segment) }
  }

  private func beginResponse(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let head = HTTP.ResponseHead(segment.pointee.payload)
    guard let head else { return }
    if head.status < 200 {
      // Interim answers, and what is no longer HTTP (101): turns no longer tell.
      record.pointee.exchange.marks.insert(.uncountable)
      return
    }
    if head.isChunked {
      record.pointee.exchange.marks.insert(.chunked)
      return
    }
    guard let headerLength = head.headerLength else { return }
    let hasNoBody =
      record.pointee.exchange.marks.contains(.head) || head.status == 204 || head.status == 304
    if hasNoBody {
      record.pointee.exchange.responseLength = Int64(headerLength)
    } else if let length = head.contentLength {
      record.pointee.exchange.responseLength = Int64(headerLength) &+ Int64(clamping: length)
    }
  }

  /// Notes the end of a response, and lets go of the request's line.
  @inline(__always)
  private mutating func followResponse(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    if record.pointee.exchange.marks.contains(.chunked) {
      if segment.pointee.payload.count < Int(segment.pointee.payloadLength) {
        // The end of the chunk was not captured: nobody knows whether it was the last.
        record.pointee.exchange.marks.subtract([.chunked, .lastChunk])
      } else if HTTP.endsWithLastChunk(segment.pointee.payload) {
        record.pointee.exchange.marks.insert(.lastChunk)
      } else {
        record.pointee.exchange.marks.remove(.lastChunk)
      }
    }
    if record.pointee.exchange.line != 0, isAnswered(record.pointee.exchange) == true {
      lines.drop(record.pointee.exchange.line)
      record.pointee.exchange.line = 0
    }
  }

  /// Whether the last request got its whole answer; nil when the capture cannot tell.
  func isAnswered(_ exchange: Exchange) -> Bool? {
    if exchange.marks.contains(.open) { return false }
    if exchange.responseBytes == 0 { return false }
    if exchange.marks.contains(.chunked) { return exchange.marks.contains(.lastChunk) }
    guard exchange.responseLength >= 0 else { return nil }
    return exchange.responseBytes >= UInt64(exchange.responseLength)
  }
}
