import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// The stale keepalive race, made to happen, several at once.
///
/// nginx's worker is stopped while the backend's FINs arrive and POSTs already wait; continued, it takes
/// up the clients' requests first, as a busy event loop would. The connections are warmed at once (also
/// with the worker stopped, so that each request has to open its own), and with `requests=N` each
/// answers so many before it is left alone. With `signal=HUP` the backend is told to reload instead.
struct StaleRace: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let bed = injection.bed
    let server = try injection.server()
    let batch = min(injection.fault.number("batch", 4), 20)
    let idle = Int64(injection.fault.number("idle", 1000))
    let lead = Int64(injection.fault.number("lead", 150))
    let clients = try (0..<batch).map { _ in
      try HTTPClient(to: bed.frontend) { bed.isCancelled }
    }
    var idleSince: Int64 = 0
    var warmed: [String] = []
    for round in 0..<injection.fault.number("requests", 1) {
      // Idle in between for longer than it takes at the end: it is not the idleness that ends it.
      if round > 0 { try injection.rest(milliseconds: Int64(injection.fault.number("gap", 0))) }
      idleSince = monotonicMilliseconds()
      warmed = try warm(clients, injection, number + 20 * (1 + round % 3))
    }
    let signal = injection.fault["signal"].map(Self.signal)
    try injection.rest(
      milliseconds: signal == nil
        ? idleSince + idle - lead - monotonicMilliseconds() : 100)
    let tokens = clients.indices.map { injection.token(number + $0) }
    let begin = currentTime()
    try bed.standstill.withLock { _ in
      try bed.nginx.stopWorker()
      defer { bed.nginx.continueWorker() }
      for (client, token) in zip(clients, tokens) {
        try client.send(injection.fault.method, injection.path(token, word: "stale"))
      }
      if let signal { server.signal(signal) }
      let ports = Set(
        warmed.compactMap { bed.wire.port(of: $0, to: server.endpoint.address) })
      try awaitCloses(server, ports, bed)
    }
    var made = 0
    for (client, token) in zip(clients, tokens) {
      let response = try client.receive(limit: 20_000)
      let answer = Answer(
        status: response.status, tried: response.headers["x-upstream"],
        isWhole: response.isComplete, begin: begin, end: currentTime())
      if injection.record(token, answer) { made += 1 }
    }
    return made
  }

  private static func signal(_ name: String) -> Int32 {
    switch name {
    case "HUP": SIGHUP
    case "USR1": SIGUSR1
    case "USR2": SIGUSR2
    default: SIGTERM
    }
  }

  /// One answer on each client's connection, all under way at the same time.
  /// - Returns: the requests' tokens.
  private func warm(
    _ clients: [HTTPClient], _ injection: Injection, _ number: Int
  ) throws -> [String] {
    let bed = injection.bed
    let tokens = clients.indices.map { injection.token(number + $0) }
    try bed.standstill.withLock { _ in
      try bed.nginx.stopWorker()
      defer { bed.nginx.continueWorker() }
      for (client, token) in zip(clients, tokens) {
        try client.send("GET", injection.path(token, word: "warm"))
      }
    }
    for client in clients {
      let response = try client.receive(limit: 20_000)
      guard response.status == 200 else {
        throw ProbeError(
          doing: "warm a connection to \(injection.fault.backend)",
          reason: "the client got \(response.status)")
      }
    }
    return tokens
  }

  /// The warmed connections (where they are not known, all) have been closed by the backend. Where that
  /// does not come soon, some were not idle: then nothing is lost, and those races do not happen.
  private func awaitCloses(_ server: Server, _ ports: Set<UInt16>, _ bed: Bed) throws {
    let end = monotonicMilliseconds() + 1500
    while monotonicMilliseconds() < end, !bed.isCancelled {
      let rows = try TCPTable().rows.filter {
        $0.remote == server.endpoint && (ports.isEmpty || ports.contains($0.local.port))
      }
      if !rows.contains(where: { $0.state == .established }) { return }
      usleep(1000)
    }
  }
}
