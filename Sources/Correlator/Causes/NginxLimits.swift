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

  /// The number in `1024 worker_connections are not enough`; nginx's default where it is cut off.
  private static func connections(_ text: String) -> Int {
    text.split(separator: " ").lazy.compactMap { Int($0) }.first.map { min($0, 1 << 20) } ?? 512
  }

  func fix(_ c: Case) -> Fix? {
    switch (c.line.message, c.line.errno) {
    case (.workerConnectionsExhausted, _):
      Fix(
        directive: "worker_connections", value: "\(Self.connections(c.line.text) * 4)",
        place: "events",
        text: "now \(Self.connections(c.line.text)); both sides of every request count, and "
          + "worker_rlimit_nofile must be larger",
        tradeOff: "about 232 bytes and two events a connection, allocated at start")
    case (.socketFailed, 24?):
      Fix(
        directive: "worker_rlimit_nofile",
        value: "\((c.workerDescriptors?.limit).map { $0 * 4 } ?? 65536)", place: "main",
        text: "the workers ran out of descriptors"
          + (c.workerDescriptors.map { " (\($0.used) of \($0.limit) were in use)" } ?? ""))
    case (_, 99?):
      Fix(
        directive: "keepalive", value: "\(max(32, (c.group?.keepalive ?? 0) * 4))", place: c.place,
        text: "out of local ports towards this upstream: reuse connections, widen "
          + "net.ipv4.ip_local_port_range, or add addresses with proxy_bind")
    default: nil
    }
  }
}
