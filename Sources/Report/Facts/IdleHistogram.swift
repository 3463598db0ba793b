public import Evidence

/// How long the connections of one upstream had been idle when the backend closed them, when that
/// close met a request, and when they were reused: counted in the buckets of `ReuseGaps`.
public struct IdleHistogram: Sendable {
  /// Closed by the backend, and no request was under way.
  public private(set) var closed: [Int: UInt64] = [:]
  /// Closed by the backend while nginx sent a request.
  public private(set) var raced: [Int: UInt64] = [:]
  /// Reused by nginx after such a gap.
  public private(set) var reused: [Int: UInt64] = [:]
  /// Idle closes by the backend that were only counted: their idle time is not known.
  public var untold: UInt64 = 0

  public init() {}

  public var isEmpty: Bool { closed.isEmpty && raced.isEmpty }
  public var closedCount: UInt64 { closed.values.reduce(0, +) }
  public var racedCount: UInt64 { raced.values.reduce(0, +) }
  public var reusedCount: UInt64 { reused.values.reduce(0, +) }

  mutating func add(_ gaps: ReuseGaps) { reused.merge(gaps.counts) { $0 &+ $1 } }

  /// Counts a backend's FIN on a connection that had been used and was idle.
  mutating func add(_ connection: Connection) {
    guard connection.closer == .responder, connection.manner == .fin, connection.exchanges != 0,
      let gap = connection.idleBeforeClose,
      connection.phase == .idle || connection.requestAfterFIN
    else { return }
    let bucket = ReuseGaps.bucket(of: gap)
    if connection.requestAfterFIN {
      raced[bucket, default: 0] += 1
    } else {
      closed[bucket, default: 0] += 1
    }
  }
}

/// What the checks of one port said.
public struct PortState: Sendable {
  public private(set) var last: PortCheck.Outcome?
  public private(set) var lastTime: Timestamp?
  public private(set) var lastConnectTime: TimeSpan?
  public private(set) var counts: [PortCheck.Outcome: UInt64] = [:]
  /// Sum and number of the connect times.
  public private(set) var connectTime = TimeSpan.zero
  public private(set) var connects: UInt64 = 0

  public init() {}

  mutating func add(_ check: PortCheck, at time: Timestamp) {
    last = check.outcome
    lastTime = time
    counts[check.outcome, default: 0] += 1
    lastConnectTime = check.connectTime
    if let span = check.connectTime {
      connectTime = connectTime + span
      connects += 1
    }
  }
}

/// The connections that an incident may still name, the latest first to stay.
struct RecentConnections: Sendable {
  private static let limit = 4096
  private var connections: [UInt64: Connection] = [:]
  private var order: [UInt64] = []

  subscript(id: UInt64) -> Connection? { connections[id] }

  mutating func put(_ connection: Connection) {
    // What ended well explains no error; light capture cannot tell, and so keeps it.
    guard connection.closer != .originator || connection.phase != .idle else { return }
    if connections.updateValue(connection, forKey: connection.id) == nil {
      order.append(connection.id)
      if order.count > Self.limit {
        for id in order.prefix(Self.limit / 4) { connections[id] = nil }
        order.removeFirst(Self.limit / 4)
      }
    }
  }
}
