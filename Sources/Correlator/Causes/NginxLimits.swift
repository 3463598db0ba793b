import Evidence

/// nginx ran into a limit of its own host: descriptors, connection slots, ports.
struct NginxLimits: CauseRule {
  let id = CauseID.nginxLimits

  func weigh(_ c: Case) -> [EvidenceItem] {
    let isLimit =
      [.workerConnectionsExhausted, .socketFailed, .bindFailed].contains(c.line.message)
      || c.line.message == .connectRefusedAtOnce && c.line.errno == 99
    guard isLimit else { return [] }
    var items = [EvidenceItem("nginx", c.line.text, decibans: 40, time: c.time.best)]
    if c.line.errno == 24, let use = c.workerDescriptors {
      items.append(
        EvidenceItem(
          "processes",
          "worker \(use.process.pid) held \(use.used) of \(use.limit) descriptors", decibans: 5))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    switch (c.line.message, c.line.errno) {
    case (.workerConnectionsExhausted, _):
      Fix(
        directive: "worker_connections", value: "4096", place: "events",
        text: "both sides of every request count; worker_rlimit_nofile must be larger")
    case (.socketFailed, 24?):
      Fix(
        directive: "worker_rlimit_nofile", value: "65536", place: "main",
        text: "the workers ran out of descriptors")
    case (_, 99?):
      Fix(
        directive: "keepalive", value: "32", place: c.place,
        text: "out of local ports towards this upstream: reuse connections, widen "
          + "net.ipv4.ip_local_port_range, or add addresses with proxy_bind")
    default: nil
    }
  }
}
