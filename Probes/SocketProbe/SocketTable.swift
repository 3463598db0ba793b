import Evidence

/// Which sockets of the watched endpoints are known, so that only news is told.
struct SocketTable {
  private struct Key: Hashable {
    var namespace: UInt64
    var inode: UInt64
  }
  private struct Entry {
    var told: SocketSighting
    var round: UInt64
  }

  /// At most so many sockets are remembered and told.
  let limit: Int
  private var entries: [Key: Entry] = [:]
  private(set) var overflow: UInt64 = 0

  init(limit: Int) { self.limit = limit }

  var count: Int { entries.count }

  /// Notes what one dump of a namespace showed.
  /// - Returns: what is new or has changed.
  mutating func update(
    namespace: UInt64, round: UInt64, with sightings: some Sequence<SocketSighting>
  ) -> [SocketSighting] {
    var news: [SocketSighting] = []
    for sighting in sightings {
      let key = Key(namespace: namespace, inode: sighting.inode)
      guard var entry = entries[key] else {
        guard entries.count < limit else {
          overflow += 1
          continue
        }
        entries[key] = Entry(told: sighting, round: round)
        news.append(sighting)
        continue
      }
      entry.round = round
      if Self.isNews(sighting, after: entry.told) {
        entry.told = sighting
        news.append(sighting)
      }
      entries[key] = entry
    }
    entries = entries.filter { $0.key.namespace != namespace || $0.value.round == round }
    return news
  }

  /// Drops what was seen in a namespace that is gone.
  mutating func forget(namespace: UInt64) {
    entries = entries.filter { $0.key.namespace != namespace }
  }

  /// A queue's length is told while it grows beyond half of what it may hold, and when it has
  /// fallen below that again.
  static func isNews(_ new: SocketSighting, after old: SocketSighting) -> Bool {
    var sameQueue = new
    sameQueue.queued = old.queued
    if sameQueue != old { return true }
    return isQueueNews(new.queued, after: old.queued, backlog: new.backlog)
  }

  static func isQueueNews(_ new: UInt32?, after old: UInt32?, backlog: UInt32?) -> Bool {
    guard let queued = new, let before = old, let backlog else { return false }
    func isHigh(_ length: UInt32) -> Bool { UInt64(length) * 2 > UInt64(backlog) }
    return isHigh(queued) ? queued > before : isHigh(before)
  }
}

/// The watched endpoints, and what a socket is to them.
struct Watch: Equatable {
  /// Paths of UNIX sockets.
  let paths: Set<String>
  let endpoints: Set<Endpoint>
  let ports: Set<UInt16>
  private let byPort: [UInt16: [Endpoint]]

  init(_ endpoints: some Sequence<Endpoint>, paths: some Sequence<String> = []) {
    self.paths = Set(paths)
    self.endpoints = Set(endpoints)
    byPort = Dictionary(grouping: self.endpoints, by: \.port)
    ports = Set(byPort.keys)
  }

  /// Nil for a socket that is nobody's (its process has closed it), or of no watched endpoint.
  func sighting(of socket: DumpedSocket, in namespace: NetworkNamespace) -> SocketSighting? {
    guard socket.inode != 0 else { return nil }
    var sighting = SocketSighting(
      role: .responder, local: socket.local, inode: socket.inode,
      namespace: namespace.inode == 0 ? nil : namespace.inode)
    if socket.isListener {
      guard accepts(socket, in: namespace) else { return nil }
      sighting.role = .listener
      sighting.queued = socket.receiveQueue
      if case .netlink = namespace.source { sighting.backlog = socket.sendQueue }
      return sighting
    }
    sighting.remote = socket.remote
    if endpoints.contains(socket.local) { return sighting }
    guard endpoints.contains(socket.remote) else { return nil }
    sighting.role = .originator
    return sighting
  }

  /// Nil for a socket of no watched endpoint.
  func death(_ death: DeathListener.Death, in namespace: UInt64) -> SocketDeath? {
    let isResponder = endpoints.contains(death.local)
    guard isResponder || endpoints.contains(death.remote) else { return nil }
    let information = death.information
    return SocketDeath(
      role: isResponder ? .responder : .originator, local: death.local, remote: death.remote,
      namespace: namespace == 0 ? nil : namespace,
      bytesAcknowledged: information?.bytesAcknowledged,
      bytesReceived: information?.bytesReceived, sinceDataSent: information?.sinceDataSent,
      sinceDataReceived: information?.sinceDataReceived, rtt: information?.rtt,
      retransmissions: information?.retransmissions)
  }

  private func accepts(_ socket: DumpedSocket, in namespace: NetworkNamespace) -> Bool {
    guard let candidates = byPort[socket.local.port] else { return false }
    guard socket.local.address.isUnspecified else { return endpoints.contains(socket.local) }
    return candidates.contains { endpoint in
      let isOfFamily =
        socket.local.address.isV4
        ? endpoint.address.isV4 : !(socket.isV6Only && endpoint.address.isV4)
      return isOfFamily && namespace.owns(endpoint.address)
    }
  }
}
