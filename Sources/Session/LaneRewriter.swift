import Evidence

/// Keeps sessions apart that were recorded apart: two hosts use the same inodes, two captures number
/// their connections from 1.
struct LaneRewriter {
  /// Which session, from 0.
  var lane: UInt64
  /// Which host, from 0.
  var hostIndex: UInt64
  var host: String
  var isFirstHost: Bool
  /// What a backend's host saw of a connection, nginx's host saw too: it is one connection, and nginx's
  /// host tells it.
  var tellsConnections: Bool

  /// Both are far below: a capture of a century numbers no 2^48 connections.
  private static let shift: UInt64 = 48

  /// - Returns: nil for what another session tells.
  func rewrite(_ observation: Observation) -> Observation? {
    var own = observation
    switch observation.fact {
    case .connection(var connection):
      guard tellsConnections else { return nil }
      connection.id |= lane << Self.shift
      own.fact = .connection(connection)
    case .packets(var trail):
      guard tellsConnections else { return nil }
      trail.connection |= lane << Self.shift
      own.fact = .packets(trail)
    case .ordinaryCloses, .reuseGaps:
      guard tellsConnections else { return nil }
    case .socket(var socket):
      socket.inode = inode(socket.inode)
      own.fact = .socket(socket)
    case .process(var sighting):
      sighting.inodes = sighting.inodes.map(inode)
      own.fact = .process(sighting)
    case .unixSocket(var socket):
      socket.inode = inode(socket.inode)
      socket.peer = socket.peer.map(inode)
      own.fact = .unixSocket(socket)
    case .counters(var totals):
      guard lane > 0 else { return own }
      // The first session's books are those that have no name.
      totals.source += isFirstHost ? " of session \(lane + 1)" : " on \(host)"
      own.fact = .counters(totals)
    case .blindSpot(var spot):
      guard !isFirstHost else { return own }
      spot.what = "on \(host): \(spot.what)"
      own.fact = .blindSpot(spot)
    default: break
    }
    return own
  }

  private func inode(_ inode: UInt64) -> UInt64 { inode | hostIndex << Self.shift }
}

/// Knows what two sessions of one host both saw: a line of the kernel's log, a line of nginx's.
struct SightingFilter {
  private var seen: [Key: (time: Timestamp, lane: Int)] = [:]
  private static let most = 100_000
  /// Two sessions stamp the same moment so far apart.
  private static let slack = TimeSpan.seconds(1)

  private struct Key: Hashable {
    var host: String
    var fact: Observation.Fact
  }

  /// Whether another session has told it.
  mutating func isRepeated(_ observation: Observation, lane: Int) -> Bool {
    guard let fact = Self.identity(observation.fact) else { return false }
    let key = Key(host: observation.host, fact: fact)
    let time = observation.time.best
    if let other = seen[key], other.lane != lane, (other.time - time).magnitude < Self.slack {
      return true
    }
    if seen.count >= Self.most {
      let old = time - .seconds(60)
      seen = seen.filter { $0.value.time > old }
      if seen.count >= Self.most { seen = [:] }
    }
    seen[key] = (time, lane)
    return false
  }

  /// What is the same of a fact, whoever saw it; nil for what each session tells of itself.
  private static func identity(_ fact: Observation.Fact) -> Observation.Fact? {
    switch fact {
    case .kernel, .nginxLine, .nginxRequest, .processExit, .processReplaced, .signal, .socketAct,
      .resetSent:
      return fact
    case .connection(var connection):
      // One connection, two captures: its ends and its first moment tell.
      connection = Connection(
        id: 0, flow: connection.flow, connState: .oth, history: "",
        firstPacket: connection.firstPacket, lastPacket: connection.firstPacket)
      return .connection(connection)
    default: return nil
    }
  }
}
