import Evidence

/// The closes of one upstream that an error may still claim, in order of arrival.
struct CloseStore {
  private(set) var entries: [Entry] = []
  private var positions: [UInt64: Int] = [:]
  private var removed = 0

  struct Entry {
    var connection: Connection
    /// The incident that the close explains.
    var incident: Int?
  }

  subscript(id: UInt64) -> Entry? {
    positions[id].map { entries[$0 - removed] }
  }

  /// Adds a close, or what is newly known of one.
  mutating func put(_ connection: Connection) {
    if let position = positions[connection.id] {
      entries[position - removed].connection = connection
    } else {
      positions[connection.id] = removed + entries.count
      entries.append(Entry(connection: connection))
    }
  }

  mutating func claim(_ id: UInt64, for incident: Int) {
    if let position = positions[id] { entries[position - removed].incident = incident }
  }

  /// Forgets the closes that no error can claim any more.
  /// - Returns: those that explained nothing although a backend made them.
  mutating func forget(before time: Timestamp) -> [Connection] {
    let count = entries.prefix { $0.connection.lastPacket < time }.count
    guard count > 0 else { return [] }
    let gone = entries.prefix(count)
    for entry in gone { positions[entry.connection.id] = nil }
    entries.removeFirst(count)
    removed += count
    return gone.filter { $0.incident == nil }.map(\.connection)
  }

  /// Whether a close may stand behind an error at all; the healthy end of an idle connection does not.
  static func isAbnormal(_ connection: Connection) -> Bool {
    if connection.requestAfterFIN || connection.originatorReset != nil
      || connection.responderReset != nil || connection.manner == .refused
    {
      return true
    }
    switch connection.phase {
    case .idle: return connection.closer == .responder && connection.exchanges == 0
    default: return connection.closer != .none || connection.connState == .s0
    }
  }
}
