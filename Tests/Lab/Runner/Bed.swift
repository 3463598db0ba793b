import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// What the whole run is given.
struct LabOptions: Sendable {
  var upclose: String
  var labBackend: String
  /// `Tests/Lab`.
  var directory: String
  var logs = AccessLogs.exact

  enum AccessLogs: String, CaseIterable, Sendable {
    /// All fields that upclose knows to use.
    case exact
    /// nginx's default format.
    case combined
    case none
  }
}

/// A scenario that has been built: nginx, its backends, and the lab's eye on the wire between them.
final class Bed: Sendable {
  let scenario: Scenario
  let options: LabOptions
  let directory: String
  let servers: [Server]
  let nginx: LabNginx
  let nginxSpace: Namespace
  let backendSpace: Namespace
  let wire = Wire()
  let book = TruthBook()
  let frontend = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 8000)
  static let nginxAddress = IPAddress(v4: 0x0ae7_0701)
  private let undo: Undo
  private let cancelled = Atomic<Bool>(false)
  /// Held by whoever needs nginx's worker to stand still.
  let standstill = Mutex(())

  static func build(_ scenario: Scenario, _ options: LabOptions) throws -> Bed {
    let undo = Undo()
    do {
      return try Bed(scenario, options, undo)
    } catch {
      _ = undo.run()
      throw error
    }
  }

  private init(_ scenario: Scenario, _ options: LabOptions, _ undo: Undo) throws {
    self.scenario = scenario
    self.options = options
    self.undo = undo
    let ground = try Ground(prefix: "upclose.run")
    directory = ground.directory
    try ground.makeDirectory(undo)
    let addresses = scenario.backends.indices.map { IPAddress(v4: 0x0ae7_0702 + UInt32($0)) }
    let relay = scenario.relay.map { Relay($0) }
    if let relay { undo.register("end the relay") { relay.stop() } }
    let spaces = try ground.makeNamespaces(
      nginx: Self.nginxAddress, backends: addresses, undo: undo,
      relay: relay.map { relay in { try relay.start(nginx: $0, backends: $1) } })
    (nginxSpace, backendSpace) = (spaces.nginx, spaces.backends)
    if let ports = scenario.localPorts {
      try nginxSpace.run {
        try writeFile(
          "\(ports.first) \(ports.last)", to: "/proc/sys/net/ipv4/ip_local_port_range",
          flags: O_WRONLY)
      }
    }
    servers = try zip(scenario.backends, addresses).map { spec, address in
      try Self.makeServer(spec, address, ground, options, spaces.backends, undo)
    }
    for server in servers
    where scenario.backends.first(where: { $0.name == server.name })?
      .parameters["off"] == nil
    {
      try server.start()
    }
    guard let program = findProgram("nginx") else {
      throw ProbeError(
        doing: "find nginx", reason: "it is not installed", remedy: "apt-get install nginx-light")
    }
    let text = NginxText(
      scenario: scenario, servers: servers, directory: directory, listen: frontend,
      logs: options.logs
    ).text
    nginx = try LabNginx.start(
      program, directory: directory, text: text, listen: frontend, namespace: nginxSpace,
      undo: undo)
    let wire = wire
    undo.register("stop watching the wire") { wire.stop() }
    try wire.start(in: nginxSpace.path)
  }

  deinit { tearDown() }

  private static func makeServer(
    _ spec: Scenario.BackendSpec, _ address: IPAddress, _ ground: Ground, _ options: LabOptions,
    _ space: Namespace, _ undo: Undo
  ) throws -> Server {
    var site = Site(
      directory: ground.directory, apps: "\(options.directory)/Apps",
      labBackend: options.labBackend, endpoint: Endpoint(address: address, port: 8080))
    if let megabytes = spec.parameters["memory"].flatMap(Int.init) {
      site.memoryCgroup = try MemoryCgroup.make(
        "\(ground.name)-\(spec.name)", limit: megabytes << 20, undo: undo)
    }
    let server = Server(
      name: spec.name, kind: spec.kind, endpoint: site.endpoint,
      launch: try Launch.make(spec, site), directory: ground.directory, namespace: space)
    undo.register("stop backend \(spec.name)") { server.stop() }
    return server
  }

  func server(_ name: String) throws -> Server {
    guard let server = servers.first(where: { $0.name == name }) else {
      throw ScenarioError(description: "\(scenario.name): there is no backend '\(name)'")
    }
    return server
  }

  /// The ends of nginx's connections to a backend, by nginx's port.
  func connections(to server: Server) throws -> [UInt16: TCPTable.State] {
    let endpoint = server.endpoint
    return try nginxSpace.run {
      try TCPTable().rows.reduce(into: [:]) { states, row in
        if row.remote == endpoint { states[row.local.port] = row.state }
      }
    }
  }

  func cancel() { cancelled.store(true, ordering: .releasing) }
  var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

  @discardableResult
  func tearDown() -> [ProbeError] {
    cancel()
    return undo.run()
  }
}
