import Evidence

/// The ordinary ends of a second: the first are told one by one, which gives enough idle times to
/// measure; the rest is counted, since a saturated nginx without keepalive ends tens of thousands.
struct OrdinaryTally {
  private(set) var told = 0
  private var counts: [Endpoint: OrdinaryCloses] = [:]

  mutating func tell() { told += 1 }

  mutating func count(_ responder: Endpoint, _ change: (inout OrdinaryCloses) -> Void) {
    change(&counts[responder, default: OrdinaryCloses(responder: responder)])
  }

  /// What was counted since the last time; a new second begins.
  mutating func take() -> [OrdinaryCloses] {
    told = 0
    guard !counts.isEmpty else { return [] }
    defer { counts.removeAll(keepingCapacity: true) }
    return counts.values.sorted { $0.responder < $1.responder }
  }
}

extension Tracker {
  /// Counts an ordinary end instead of telling it, when enough were told this second.
  /// - Returns: false when it is to be told.
  mutating func countsOnly(_ number: UInt32) -> Bool {
    guard let live = options.live else { return false }
    let record = table.records[number]
    guard record.pointee.ending != 0, !record.pointee.marks.contains(.reported) else {
      return false
    }
    let ending = endings[record.pointee.ending]
    guard isOrdinary(record, ending) else { return false }
    if ordinary.told < live.ordinaryReports {
      ordinary.tell()
      return false
    }
    let responder = table.responder(record)
    let byOriginator = ending.pointee.closedByOriginator
    let isUnknown = isLight(record) || ending.pointee.phase == Phase.unknown.code
    ordinary.count(responder) { closes in
      if isUnknown {
        closes.inUnknownPhase += 1
      } else if byOriginator {
        closes.byOriginator += 1
      } else {
        closes.byResponder += 1
      }
    }
    record.pointee.marks.insert(.reported)
    return true
  }

  /// Both sides sent FIN, nobody reset, and the last request was answered. Light capture cannot see
  /// the last, nor whether an answer in TLS was whole; of hundreds of equal closes a second an error could claim none for its own anyway.
  private func isOrdinary(
    _ record: UnsafeMutablePointer<Record>, _ ending: UnsafeMutablePointer<Ending>
  ) -> Bool {
    guard ending.pointee.fin.0 != 0, ending.pointee.fin.1 != 0, ending.pointee.reset.0 == 0,
      ending.pointee.reset.1 == 0
    else { return false }
    if isLight(record) { return true }
    let exchange = record.pointee.exchange
    return (ending.pointee.phase == Phase.idle.code || ending.pointee.phase == Phase.unknown.code)
      && exchange.requestTime != 0 && !exchange.marks.contains(.open)
  }
}
