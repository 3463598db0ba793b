import Evidence

/// What may run out: descriptors and connection slots, with the fullest that each was seen.
struct Ceilings: Sendable {
  struct Use: Hashable, Sendable {
    var used: UInt64
    var limit: UInt64
    var time: Timestamp

    var share: Double { limit == 0 ? 0 : Double(used) / Double(limit) }
  }

  enum Resource: Hashable, Sendable {
    case descriptors, connections
  }

  private(set) var workers: [Int32: [Resource: Use]] = [:]
  private(set) var processes: [Int32: (process: ProcessIdentity, use: Use)] = [:]
  private static let most = 4000

  /// nginx's own workers, as `worker 4711` (NginxProbe's WorkerUse).
  mutating func observe(_ counters: Counters, at time: Timestamp) {
    guard counters.source.hasPrefix("worker "), let pid = Int32(counters.source.dropFirst(7)) else {
      return
    }
    if let limit = counters.details["descriptor limit"] {
      note(Use(used: counters.seen, limit: limit, time: time), of: pid, .descriptors)
    }
    if let sockets = counters.details["sockets"],
      let limit = counters.details["worker_connections"]
    {
      note(Use(used: sockets, limit: limit, time: time), of: pid, .connections)
    }
  }

  mutating func observe(_ use: DescriptorUse, at time: Timestamp) {
    let seen = Use(used: use.used, limit: use.limit, time: time)
    let pid = use.process.pid
    if processes.count >= Self.most { processes = [:] }
    if processes[pid].map({ $0.use.share < seen.share }) ?? true {
      processes[pid] = (use.process, seen)
    }
  }

  private mutating func note(_ use: Use, of pid: Int32, _ resource: Resource) {
    if workers.count >= Self.most { workers = [:] }
    if workers[pid]?[resource].map({ $0.share < use.share }) ?? true {
      workers[pid, default: [:]][resource] = use
    }
  }

  /// The fullest that a worker of nginx was seen.
  func use(of worker: Int32, _ resource: Resource) -> Use? { workers[worker]?[resource] }
}
