import Evidence

/// Connections whose story may still grow: each is told again when more is known of its close, and is
/// counted once, when nothing more is expected. Bounded: in a flood the oldest are settled early.
struct SettlingConnections: Sendable {
  /// The packet probe adds what trails in (the RST that answers a late request) within seconds.
  private static let patience = TimeSpan.seconds(3)
  private static let limit = 8192

  private var waiting: [UInt64: Connection] = [:]
  private var order: [UInt64] = []
  private var ownProbes: [Endpoint: Timestamp] = [:]
  private var lastSwept = Timestamp(nanoseconds: .min)

  mutating func put(_ connection: Connection) {
    if waiting.updateValue(connection, forKey: connection.id) == nil {
      order.append(connection.id)
    }
  }

  /// The port prober's connections are no traffic.
  mutating func note(_ check: PortCheck, at time: Timestamp) {
    if let source = check.source { ownProbes[source] = time }
  }

  subscript(id: UInt64) -> Connection? { waiting[id] }

  /// Those of which nothing more is expected, in order of arrival, without the prober's.
  mutating func settled(at now: Timestamp?) -> [Connection] {
    if let now {
      guard order.count > Self.limit || now > lastSwept + .milliseconds(500) else { return [] }
      lastSwept = now
    }
    var kept: [UInt64] = []
    var given: [Connection] = []
    let surplus = order.count - Self.limit / 2
    let isFlooded = order.count > Self.limit
    for (position, id) in order.enumerated() {
      guard let connection = waiting[id] else { continue }
      let isOver = now.map { connection.lastPacket + Self.patience < $0 } ?? true
      guard isOver || isFlooded && position < surplus else {
        kept.append(id)
        continue
      }
      waiting[id] = nil
      if !isOwnProbe(connection) { given.append(connection) }
    }
    order = kept
    if let now, ownProbes.count > 1000 {
      ownProbes = ownProbes.filter { $0.value > now - .seconds(90) }
    }
    return given
  }

  /// Ports are reused, so the time must fit too.
  private func isOwnProbe(_ connection: Connection) -> Bool {
    guard let probed = ownProbes[connection.flow.originator] else { return false }
    return (connection.firstPacket - probed).magnitude < .seconds(2)
  }
}
