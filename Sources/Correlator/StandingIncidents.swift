import Evidence

/// Every incident that was given, and which of the fresh ones something new may bear on. Only those
/// are looked at again, so that a flood of errors is not judged over and over.
struct StandingIncidents {
  /// In order of their first verdict, up to a limit.
  private(set) var all: [Incident] = []
  /// Given, but not kept.
  private(set) var dropped = 0
  private var positions: [Int: Int] = [:]
  private var fresh: [Int: (error: Correlator.OpenError, incident: Incident)] = [:]
  private var order: [Int] = []
  private var incidentOfClose: [UInt64: Int] = [:]
  private var unmatched: [Endpoint: Set<Int>] = [:]
  /// Incidents by nginx's number of the client's connection.
  private var incidentsOfClient: [UInt64: Set<Int>] = [:]
  private var doubtful: Set<Int> = []
  private var deaths: [TimeEstimate] = []

  /// An incident that is kept, however old.
  func kept(_ id: Int) -> Incident? { positions[id].map { all[$0] } }

  /// Something may be to be looked at again.
  var isDoubtful: Bool { !doubtful.isEmpty || !deaths.isEmpty }

  subscript(id: Int) -> (error: Correlator.OpenError, incident: Incident)? { fresh[id] }

  mutating func add(_ error: Correlator.OpenError, _ incident: Incident) {
    if all.count < Correlator.incidentLimit {
      positions[incident.id] = all.count
      all.append(incident)
    } else {
      dropped += 1
    }
    order.append(error.id)
    remember(error, incident)
  }

  mutating func replace(_ error: Correlator.OpenError, _ incident: Incident) {
    if let position = positions[incident.id] { all[position] = incident }
    remember(error, incident)
  }

  private mutating func remember(_ error: Correlator.OpenError, _ incident: Incident) {
    fresh[error.id] = (error, incident)
    if let close = incident.close { incidentOfClose[close.connection] = error.id }
    if let client = error.line.connection {
      incidentsOfClient[client, default: []].insert(error.id)
    }
    guard let endpoint = error.line.upstream?.endpoint else { return }
    if incident.close == nil {
      unmatched[endpoint, default: []].insert(error.id)
    } else {
      unmatched[endpoint]?.remove(error.id)
    }
  }

  /// More is known of a connection, or a new close may fit an error that has none.
  mutating func learned(of connection: Connection) {
    if let id = incidentOfClose[connection.id] {
      doubtful.insert(id)
    } else if let waiting = unmatched[connection.flow.responder] {
      doubtful.formUnion(waiting)
    }
  }

  /// The access log told what became of a request.
  mutating func answered(_ request: NginxRequest, at time: TimeEstimate) {
    if let connection = request.connection {
      doubtful.formUnion(incidentsOfClient[connection] ?? [])
      return
    }
    // Without a connection's number all are asked; a flood is not.
    guard fresh.count < 1000 else { return }
    for (id, entry) in fresh
    where AccessBook.fits(request, time, entry.error.line, entry.error.time) {
      doubtful.insert(id)
    }
  }

  mutating func somebodyDied(at time: TimeEstimate) {
    if !fresh.isEmpty { deaths.append(time) }
  }

  /// The incidents to look at again, in order; each is given once for what is new.
  mutating func takeDoubtful() -> [Int] {
    for death in deaths {
      for (id, entry) in fresh
      where entry.incident.time.distance(to: death) < .seconds(5) {
        doubtful.insert(id)
      }
    }
    deaths = []
    defer { doubtful = [] }
    return doubtful.sorted()
  }

  /// What was given long enough ago is not looked at again.
  mutating func expire(before time: Timestamp) {
    let count = order.prefix { (fresh[$0]?.error.time.latest ?? time) <= time }.count
    guard count > 0 else { return }
    for id in order.prefix(count) {
      guard let entry = fresh.removeValue(forKey: id) else { continue }
      if let close = entry.incident.close { incidentOfClose[close.connection] = nil }
      if let endpoint = entry.error.line.upstream?.endpoint { unmatched[endpoint]?.remove(id) }
      if let client = entry.error.line.connection {
        incidentsOfClient[client]?.remove(id)
        if incidentsOfClient[client]?.isEmpty == true { incidentsOfClient[client] = nil }
      }
    }
    order.removeFirst(count)
  }
}
