import Evidence

/// The header of an HTTP/1 response: how long the response will be, also when the header comes in
/// pieces; and that it was cut, when the connection ends within it.
extension Tracker {
  func beginResponse(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let bytes = segment.pointee.payload
    guard let head = HTTP.ResponseHead(bytes) else {
      if segment.isWhole, HTTP.mayBeginResponse(bytes) {
        record.pointee.exchangeMarks.formUnion([.inHeader, .lostStatus])
      }
      return
    }
    if head.status < 200 {
      // Interim answers, and what is no longer HTTP (101): turns no longer tell.
      record.pointee.exchangeMarks.insert(.uncountable)
      return
    }
    let hasNoBody =
      record.pointee.exchangeMarks.contains(.head) || head.status == 204 || head.status == 304
    note(record, head, hasNoBody: hasNoBody)
    if let length = head.headerLength {
      endHeader(record, UInt64(length))
    } else if segment.isWhole {
      record.pointee.exchangeMarks.insert(.inHeader)
      noteLineEnd(record, bytes)
    } else if record.pointee.responseLength > 0 {
      // The body's length is known, the header's is not: their sum is neither.
      record.pointee.responseLength = -1
    }
  }

  /// Another piece of a header that has not ended.
  func followHeader(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, _ fresh: UInt32,
    isNext: Bool
  ) {
    let payload = segment.pointee.payload
    guard isNext, segment.isWhole, payload.count >= Int(fresh) else {
      // What is missing may hold the header's end.
      record.pointee.exchangeMarks.subtract([.inHeader, .chunked])
      record.pointee.responseLength = -1
      return
    }
    let bytes = UnsafeRawBufferPointer(rebasing: payload[(payload.count - Int(fresh))...])
    var head = HTTP.ResponseHead()
    let marks = record.pointee.exchangeMarks
    if marks.isDisjoint(with: [.atLineStart, .afterReturn]) {
      record.pointee.exchangeMarks.insert(.lostField)
    }
    head.readRest(
      bytes, atLineStart: marks.contains(.atLineStart), afterReturn: marks.contains(.afterReturn))
    note(record, head, hasNoBody: record.pointee.responseLength == 0)
    if let length = head.headerLength {
      endHeader(record, record.pointee.responseBytes &+ UInt64(length))
    } else {
      noteLineEnd(record, bytes)
    }
  }

  /// Keeps the body's length in `responseLength` until the header's own is known.
  private func note(
    _ record: UnsafeMutablePointer<Record>, _ head: HTTP.ResponseHead, hasNoBody: Bool
  ) {
    if hasNoBody {
      record.pointee.responseLength = 0
    } else if head.isChunked {
      record.pointee.exchangeMarks.insert(.chunked)
    } else if let length = head.contentLength {
      record.pointee.responseLength = Int64(clamping: length)
    }
  }

  private func endHeader(_ record: UnsafeMutablePointer<Record>, _ headerLength: UInt64) {
    record.pointee.exchangeMarks.subtract([.inHeader, .atLineStart, .afterReturn])
    if record.pointee.exchangeMarks.contains(.lostStatus) {
      // It may be an answer without a body, whatever its fields say.
      record.pointee.exchangeMarks.remove(.chunked)
      record.pointee.responseLength = -1
    } else if record.pointee.exchangeMarks.contains(.chunked) {
      record.pointee.responseLength = -1
    } else if record.pointee.responseLength >= 0 {
      record.pointee.responseLength &+= Int64(clamping: headerLength)
    } else if !record.pointee.exchangeMarks.contains(.lostField) {
      record.pointee.exchangeMarks.insert(.untilClose)
    }
  }

  private func noteLineEnd(
    _ record: UnsafeMutablePointer<Record>, _ bytes: UnsafeRawBufferPointer
  ) {
    let wasAtLineStart = record.pointee.exchangeMarks.contains(.atLineStart)
    record.pointee.exchangeMarks.subtract([.atLineStart, .afterReturn])
    guard let last = bytes.last else { return }
    if last == 0x0a {
      record.pointee.exchangeMarks.insert(.atLineStart)
    } else if last == 0x0d, bytes.count > 1 ? bytes[bytes.count - 2] == 0x0a : wasAtLineStart {
      record.pointee.exchangeMarks.insert(.afterReturn)
    }
  }
}
