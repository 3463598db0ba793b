import Evidence

/// What a later file of a session must repeat to be understood without those before: the settings, the
/// blind spots, the totals, who listens.
struct RecordingContext {
  /// More would make a small file of nothing else.
  private static let most = 2000

  private var instances: [Int32: Observation] = [:]
  private var blindSpots: [Observation] = []
  private var counters: [String: Observation] = [:]
  private var listeners: [Endpoint: Observation] = [:]
  private var processes: [Int32: Observation] = [:]
  private var order: [Int32] = []

  mutating func note(_ observation: Observation) {
    switch observation.fact {
    case .nginx(let instance): instances[instance.master ?? 0] = observation
    case .blindSpot:
      if blindSpots.count < 200 { blindSpots.append(observation) }
    case .counters(let totals): counters[totals.source] = observation
    case .socket(let socket) where socket.role == .listener:
      if listeners.count < Self.most { listeners[socket.local] = observation }
    case .process(let sighting):
      let pid = sighting.process.pid
      if processes[pid] == nil { order.append(pid) }
      processes[pid] = observation
      if order.count > Self.most { processes[order.removeFirst()] = nil }
    default: break
    }
  }

  var observations: [Observation] {
    instances.sorted { $0.key < $1.key }.map(\.value) + blindSpots
      + counters.sorted { $0.key < $1.key }.map(\.value)
      + listeners.sorted { $0.key < $1.key }.map(\.value) + order.compactMap { processes[$0] }
  }
}
