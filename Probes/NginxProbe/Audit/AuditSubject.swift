import Evidence

/// A configuration as the rules look at it.
public struct AuditSubject: Sendable {
  let directives: [Directive]
  let settings: NginxSettings
  /// Nil when only files are known: then the rules speak of what holds in most versions.
  let version: NginxVersion?
  let measured: [MeasuredBackend]
  let host: HostFacts
  /// Every `proxy_pass` and its like, in order.
  let sites: [PassSite]

  public init(
    _ loaded: LoadedNginx, measured: [MeasuredBackend] = [], host: HostFacts = HostFacts()
  ) {
    directives = loaded.directives
    settings = loaded.settings
    version = loaded.build.version
    self.measured = measured
    self.host = host
    sites = PassSite.all(in: loaded.directives, loaded.settings)
  }

  /// Whether this nginx is that version or a later one; nil when it is not known.
  func isAtLeast(_ major: Int, _ minor: Int, _ patch: Int) -> Bool? {
    version.map { $0 >= NginxVersion(major, minor, patch) }
  }

  /// Since 1.29.7 nginx speaks HTTP/1.1 to backends and keeps connections by default.
  var keepsByDefault: Bool { isAtLeast(1, 29, 7) ?? false }

  /// The `upstream` blocks, with the directive that each was read from.
  var explicitGroups: [(group: UpstreamGroup, block: Directive)] {
    let blocks = directives.filter { ["http", "stream"].contains($0.name) }
      .flatMap { $0.block ?? [] }.filter { $0.name == "upstream" }
    return settings.upstreams.filter(\.isExplicit).compactMap { group in
      blocks.first { $0.location == group.location }.map { (group, $0) }
    }
  }

  func block(of group: UpstreamGroup) -> Directive? {
    explicitGroups.first { $0.group.location == group.location }?.block
  }

  /// Sites that lead to a group.
  func sites(of group: UpstreamGroup) -> [PassSite] {
    sites.filter { $0.groups.contains { $0.location == group.location } }
  }

  /// Groups of HTTP and FastCGI whose connections are reused, with the sites that do it.
  var reusingGroups: [(group: UpstreamGroup, block: Directive, sites: [PassSite])] {
    explicitGroups.compactMap { group, block in
      guard group.keepalive != nil else { return nil }
      let reusing = sites(of: group).filter { $0.reuse(self) != .never }
      return reusing.isEmpty ? nil : (group, block, reusing)
    }
  }

  /// The shortest idle timeout that was measured of a group's backends.
  func idleTimeout(of group: UpstreamGroup) -> TimeSpan? {
    measured(group).compactMap(\.idleTimeout).min()
  }

  /// Errors that a session had of a cause in a group.
  func errors(_ cause: String, in group: UpstreamGroup) -> Int {
    measured(group).reduce(0) { $0 + ($1.causes[cause] ?? 0) }
  }

  private func measured(_ group: UpstreamGroup) -> [MeasuredBackend] {
    let peers = Set(group.servers.flatMap(\.peers).map(\.description))
    return measured.filter { $0.upstream == group.name || peers.contains($0.upstream) }
  }

  /// Whether a race between reuse and the backend's idle timer is possible, as far as is known: nginx
  /// keeps idle connections at least as long as the backend was seen to, or by its own default.
  func canRace(_ group: UpstreamGroup) -> Bool {
    guard group.keepalive != nil else { return false }
    guard let kept = group.keepaliveTimeout else { return true }
    if let timeout = idleTimeout(of: group) { return kept + .seconds(1) > timeout }
    return kept >= .seconds(60)
  }

  /// The first directive of a name at the main level.
  func main(_ name: String) -> Directive? { directives.first { $0.name == name } }

  /// What stands for a missing directive of the main level: the file's first line.
  var top: Directive {
    directives.first.map { Directive(name: "", file: $0.file, line: 1) }
      ?? Directive(name: "", file: "nginx.conf", line: 1)
  }

  /// Whether there is only a file, and no nginx that runs by it here.
  var isFile: Bool { host.processors == nil }

  /// How many workers run; nil when nothing tells.
  var workers: Int? {
    guard let words = main("worker_processes")?.arguments, let first = words.first else { return 1 }
    return first == "auto" ? host.processors : Int(first)
  }
}

extension UpstreamGroup {
  /// Addresses that take requests; with one, and no backup, nginx never disables it.
  var peerCount: Int {
    servers.filter { !$0.isDown }.reduce(0) { $0 + max(1, $1.peers.count) }
  }

  var canBeDisabled: Bool { peerCount > 1 && servers.contains { $0.maxFails > 0 } }
}
