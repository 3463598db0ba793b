import Evidence

/// The closes of one upstream that an error may still claim, and those that one has claimed.
///
/// Only what is free is looked through for matches, so that a flood of explained errors costs
/// nothing later.
struct CloseStore {
  private var connections: [UInt64: Entry] = [:]
  /// In order of arrival, which is nearly that of time; those claimed are taken out now and then.
  private var arrivals: [UInt64] = []
  private var claimedCount = 0
  /// No close is older than this; nil: there is none.
  private(set) var oldest: Timestamp?
  /// Several seconds' worth of a saturated nginx that keeps no connection.
  private static let most = 1 << 15

  struct Entry {
    var connection: Connection
    /// The incident that the close explains.
    var incident: Int?
  }

  subscript(id: UInt64) -> Entry? { connections[id] }

  /// Adds a close, or what is newly known of one.
  mutating func put(_ connection: Connection) {
    if connections[connection.id] == nil {
      arrivals.append(connection.id)
      // Light capture cannot tell a healthy close from a failure, and so keeps them all.
      if arrivals.count > Self.most {
        for id in arrivals.prefix(Self.most / 8) { connections[id] = nil }
        arrivals.removeFirst(Self.most / 8)
        claimedCount = min(claimedCount, arrivals.count)
      }
    }
    connections[connection.id, default: Entry(connection: connection)].connection = connection
    oldest = min(oldest ?? connection.lastPacket, connection.lastPacket)
  }

  mutating func claim(_ id: UInt64, for incident: Int) {
    guard connections[id] != nil else { return }
    connections[id]?.incident = incident
    claimedCount += 1
    guard claimedCount > 64, claimedCount * 2 > arrivals.count else { return }
    arrivals.removeAll { connections[$0]?.incident != nil }
    claimedCount = 0
  }

  /// The closes that are free and touch the span of time, in order of arrival.
  func free(from start: Timestamp, to end: Timestamp) -> [Connection] {
    var found: [Connection] = []
    for id in arrivals.reversed() {
      guard let entry = connections[id], entry.incident == nil else { continue }
      // What is known of a close may grow for seconds after it came, so arrival is not quite time.
      if entry.connection.lastPacket < start - .seconds(5) { break }
      if entry.connection.lastPacket >= start, entry.connection.firstPacket <= end {
        found.append(entry.connection)
      }
    }
    return found.reversed()
  }

  /// Forgets the closes that no error can claim any more.
  /// - Returns: those that explained nothing.
  mutating func forget(before time: Timestamp) -> [Connection] {
    guard let oldest, oldest < time else { return [] }
    let gone = connections.filter { $0.value.connection.lastPacket < time }
    for id in gone.keys { connections[id] = nil }
    arrivals.removeAll { connections[$0] == nil }
    claimedCount = min(claimedCount, arrivals.count)
    self.oldest = connections.values.map(\.connection.lastPacket).min()
    return gone.values.filter { $0.incident == nil }.map(\.connection).sorted { $0.id < $1.id }
  }

  /// Closed so soon after the last byte that the answer may not have been what was waited for: one that
  /// nginx would not take, or of which TLS hides that it was cut. Most are in order.
  static func isEarly(_ connection: Connection) -> Bool {
    guard connection.phase == .idle, connection.exchanges ?? 1 > 0,
      connection.idleBeforeClose.map({ $0 < .milliseconds(60) }) ?? false
    else { return false }
    return connection.exchanges.map { $0 == 1 } ?? true || connection.closer == .originator
  }

  /// Whether a close may stand behind an error at all; the healthy end of an idle connection does not.
  static func isAbnormal(_ connection: Connection) -> Bool {
    if connection.requestAfterFIN || connection.originatorReset != nil
      || connection.responderReset != nil || connection.manner == .refused
    {
      return true
    }
    switch connection.phase {
    case .idle:
      return connection.exchanges == 0 && connection.closer == .responder
        || isEarly(connection)
    default: return connection.closer != .none || connection.connState == .s0
    }
  }
}
