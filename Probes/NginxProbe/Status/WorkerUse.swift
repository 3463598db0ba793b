import Evidence
import LinuxHost

/// How many descriptors and connection slots a worker has in use, against its limits.
struct WorkerUse: Hashable {
  var pid: Int32
  var descriptors: Int
  /// Every socket takes a slot of `worker_connections`, those it listens on too.
  var sockets: Int
  var descriptorLimit: Int?
  var connectionLimit: Int?

  /// Nil when the worker is gone, or may not be looked at.
  init?(pid: Int32, connectionLimit: Int?, in table: ProcessTable) {
    let names = directoryEntries(table.path(pid, "fd"))
    guard !names.isEmpty else { return nil }
    self.pid = pid
    self.connectionLimit = connectionLimit
    descriptors = names.count
    sockets = names.count { readLink(table.path(pid, "fd/\($0)"))?.hasPrefix("socket:") ?? false }
    descriptorLimit = DescriptorLimits(pid: pid, in: table)?.soft
  }

  var counters: Counters {
    var details: [String: UInt64] = ["sockets": UInt64(sockets)]
    if let descriptorLimit { details["descriptor limit"] = UInt64(clamping: descriptorLimit) }
    if let connectionLimit { details["worker_connections"] = UInt64(clamping: connectionLimit) }
    return Counters(
      source: "worker \(pid)", seen: UInt64(descriptors), lost: 0, details: details)
  }

  /// Said once it is nearly full: what follows is an error that no backend made.
  var warning: BlindSpot? {
    if let limit = connectionLimit, sockets * 10 >= limit * 9 {
      return BlindSpot(
        id: "worker-connections",
        what: "nginx's worker \(pid) has \(sockets) of its \(limit) worker_connections in use",
        cost:
          "requests beyond them fail by nginx's own limit (`worker_connections are not enough`)",
        remedy: "raise worker_connections, or shorten keepalive_timeout of clients")
    }
    if let limit = descriptorLimit, descriptors * 10 >= limit * 9 {
      return BlindSpot(
        id: "worker-descriptors",
        what: "nginx's worker \(pid) has \(descriptors) of its \(limit) descriptors open",
        cost: "requests beyond them fail by nginx's own limit (`Too many open files`)",
        remedy: "worker_rlimit_nofile \(limit * 2);")
    }
    return nil
  }
}

extension NginxSettings {
  /// `worker_connections`, 512 where none is written.
  static func workerConnections(_ directives: [Directive]) -> Int? {
    let events = directives.last { $0.name == "events" }
    let written = events?.block?.last { $0.name == "worker_connections" }
    return written.map { $0.arguments.first.flatMap { Int($0) } } ?? 512
  }
}
