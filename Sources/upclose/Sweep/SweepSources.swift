import Evidence
import LinuxHost
import NginxProbe
import PortProbe

/// One port that is checked.
struct SweepTarget: Hashable {
  var endpoint: Endpoint
  /// The name that led to it; nil for a bare address.
  var name: String?

  /// As text: the address, and the name behind it.
  var label: String { name.map { "\(endpoint) (\($0))" } ?? "\(endpoint)" }
  /// For the Host header.
  var host: String { name ?? "\(endpoint)" }
}

/// Where targets come from: written ones, names, an nginx.
struct SweepSources {
  private(set) var specs: [TargetSpec] = []
  private(set) var nginx: [FoundNginx] = []
  /// What was written and could not be read.
  private(set) var errors: [String] = []

  /// - Throws: `ProbeError` when a file cannot be read or there is no nginx.
  static func find(_ command: SweepCommand) throws -> SweepSources {
    var sources = SweepSources()
    sources.specs = command.target.map(\.spec)
    for path in command.targets {
      let file = TargetFile(try readFile(path), path: path)
      sources.specs += file.specs
      sources.errors += file.errors
    }
    if command.fromNginx { try sources.findNginx(command.pid) }
    return sources
  }

  private mutating func findNginx(_ pid: Int32?) throws {
    let discovery = NginxDiscovery()
    let found = try Targets.choose(discovery.find(), pid)
    guard !found.isEmpty else {
      throw ProbeError(
        doing: "find nginx", reason: "no master process runs (looked at \(discovery.whereItLooks))",
        remedy: "start it, or name the targets")
    }
    try Targets.enterNamespace(of: found)
    // Looked at again, since what is foreign to us has changed with the namespace.
    let masters = Set(found.map(\.master))
    nginx = discovery.find().filter { masters.contains($0.master) }
  }

  /// The names that must be looked up, each once.
  var names: [String] {
    var seen: Set<String> = []
    return specs.compactMap { spec in
      guard case .name(let name) = spec.host, seen.insert(name).inserted else { return nil }
      return name
    }
  }

  /// Every endpoint once, in order of its first mention.
  /// - Parameters:
  ///   - addresses: of each name, as far as they are known.
  ///   - upstreams: of the nginx.
  func targets(_ addresses: [String: [IPAddress]], _ upstreams: [SweepTarget]) -> [SweepTarget] {
    var seen: Set<Endpoint> = []
    var all: [SweepTarget] = []
    for spec in specs {
      var name: String?
      if case .name(let written) = spec.host { name = written }
      spec.forEachEndpoint(of: name.flatMap { addresses[$0] } ?? []) { endpoint in
        guard seen.insert(endpoint).inserted else { return }
        all.append(SweepTarget(endpoint: endpoint, name: name))
      }
    }
    for target in upstreams where seen.insert(target.endpoint).inserted { all.append(target) }
    return all
  }

  /// The upstream servers of the running configuration, names looked up; may take its time.
  func upstreams() -> [UpstreamOfNginx] {
    nginx.flatMap { found -> [UpstreamOfNginx] in
      let running =
        found.isRunning
        ? found
        : NginxDiscovery().find().first {
          $0.configurationPath == found.configurationPath
            && $0.networkNamespace == found.networkNamespace
        }
      guard let loaded = try? running?.load() else { return [] }
      return loaded.instance.upstreams.flatMap { group in
        group.servers.flatMap { server in
          server.peers.compactMap { peer in
            peer.endpoint.map { UpstreamOfNginx(server: server.name, endpoint: $0, group: group) }
          }
        }
      }
    }
  }
}

/// An upstream server of the running nginx.
struct UpstreamOfNginx: Hashable, Sendable {
  var server: String
  var endpoint: Endpoint
  var group: UpstreamGroup

  /// Where nginx was given a name, the name without its port.
  var target: SweepTarget {
    guard Endpoint(server) == nil, IPAddress(server) == nil else {
      return SweepTarget(endpoint: endpoint, name: nil)
    }
    let name = server.lastIndex(of: ":").map { String(server[..<$0]) } ?? server
    return SweepTarget(endpoint: endpoint, name: name)
  }
}
