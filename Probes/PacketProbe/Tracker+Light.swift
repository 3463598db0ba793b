import Evidence

/// Light capture: only SYN, FIN and RST are handed in, so most of what a connection did is not known,
/// and is not guessed. Who closed and how is as sure as ever, and the handshake's fate too.
///
/// What is missing (phase, idle time, exchanges, delivery) may come from the kernel's own record of the
/// socket when it is destroyed; `Connection.isLight` says that it is wanted.
extension Tracker {
  /// From now on only SYN, FIN and RST are handed in.
  mutating func goLight() {
    headersSince = .max
    for number in table.numbers { Self.makeLight(&table.records[number].pointee) }
  }

  /// From now on every packet is handed in again. What is open is met midstream: how often it was
  /// used is not known, but its next request is.
  mutating func goFull(at time: Int64) {
    headersSince = time
    for number in table.numbers { forgetExchange(number) }
  }

  /// Packets were missed by all that is open (the interface was gone): no count of requests, and no
  /// idle time, may bridge that hole.
  mutating func missedPackets(until time: Int64) {
    guard headersSince != .max else { return }
    for number in table.numbers { Self.makeLight(&table.records[number].pointee) }
    goFull(at: time)
  }

  static func makeLight(_ record: inout Record) {
    record.marks.insert(.light)
    // Data that is not seen is not waited for.
    record.originator.marks.insert(.skipping)
    record.responder.marks.insert(.skipping)
    record.plain = []
  }

  private mutating func forgetExchange(_ number: UInt32) {
    let record = table.records[number]
    guard record.pointee.marks.contains(.light) else { return }
    lines.drop(record.pointee.requestLine)
    record.pointee.plain = []
    var fresh = Exchange()
    fresh.marks = record.pointee.exchangeMarks.intersection([
      .classified, .http1, .http2, .tls, .tlsEstablished,
    ])
    fresh.marks.insert(.uncountable)
    record.pointee.exchange = fresh
    record.pointee.lastPayload = 0
  }

  /// Whether the end of the connection was seen without its packets.
  func isLight(_ record: UnsafeMutablePointer<Record>) -> Bool {
    guard record.pointee.marks.contains(.light) else { return false }
    // All packets of a whole request are as good as a new connection's.
    return headersSince == .max || record.pointee.requestTime < headersSince
      || record.pointee.requestTime == 0
  }

  /// Withdraws what only the packets in between could have told.
  func describeLight(_ number: UInt32, _ connection: inout Connection) {
    let record = table.records[number]
    connection.isLight = true
    connection.rtt = nil
    connection.exchanges = nil
    connection.requestSentAt = nil
    connection.requestBytes = nil
    connection.responseBytes = nil
    connection.request = nil
    connection.requestAfterFIN = false
    connection.idleBeforeClose = nil
    connection.requestDelivery = .unknown
    connection.phase = .unknown
    // A FIN's number is its side's byte count (beyond 4 GiB, what is left of it).
    if !record.pointee.originator.marks.contains(.sawFIN) { connection.originatorBytes = nil }
    if !record.pointee.responder.marks.contains(.sawFIN) { connection.responderBytes = nil }
    guard record.pointee.marks.contains(.sawSYN) else { return }
    if !record.pointee.marks.contains(.sawSYNACK) {
      connection.phase = .connecting
      connection.requestDelivery = .neverSent
    } else if connection.originatorBytes == 0, connection.responderBytes ?? 0 == 0 {
      // Nothing was ever said.
      connection.phase = .idle
      connection.exchanges = 0
      connection.requestDelivery = .neverSent
    }
  }
}
