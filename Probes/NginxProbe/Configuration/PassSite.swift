import Evidence

/// A `proxy_pass` or its like, with the blocks that it stands in.
struct PassSite: Sendable {
  var pass: Directive
  var kind: Kind
  var isStream: Bool
  /// As written.
  var target: String
  /// The directives of each block from the main one inwards; the last holds the pass.
  var levels: [[Directive]]
  /// Where it leads; several where a variable decides, none where only a request does.
  var groups: [UpstreamGroup]

  enum Kind: String {
    case proxy, fastcgi, uwsgi, scgi, grpc, memcached

    init?(_ directive: String) {
      guard directive.hasSuffix("_pass"), let kind = Kind(rawValue: String(directive.dropLast(5)))
      else { return nil }
      self = kind
    }
  }

  /// Every pass of `http` and `stream`, in order.
  static func all(in directives: [Directive], _ settings: NginxSettings) -> [PassSite] {
    var sites: [PassSite] = []
    for module in directives where ["http", "stream"].contains(module.name) {
      let block = module.block ?? []
      collect(block, [directives, block], module.name, settings, &sites)
    }
    return sites
  }

  private static func collect(
    _ block: [Directive], _ levels: [[Directive]], _ module: String, _ settings: NginxSettings,
    _ sites: inout [PassSite]
  ) {
    for directive in block where directive.name != "upstream" {
      if let inner = directive.block {
        collect(inner, levels + [inner], module, settings, &sites)
      } else if let kind = Kind(directive.name), let target = directive.arguments.first {
        let groups = settings.passes.filter { $0.location == directive.location }.map {
          settings.upstreams[$0.group]
        }
        sites.append(
          PassSite(
            pass: directive, kind: kind, isStream: module == "stream", target: target,
            levels: levels, groups: groups))
      }
    }
  }

  /// What follows a failed try here.
  var retryRules: RetryRules {
    RetryRules(
      nextUpstream: own("next_upstream")?.arguments ?? ["error", "timeout"],
      tries: own("next_upstream_tries")?.arguments.first.flatMap { Int($0) } ?? 0,
      buffersRequests: own("request_buffering")?.arguments.first != "off")
  }

  /// The directive that holds here: the innermost block's, by nginx's rule of inheritance.
  func directive(_ name: String) -> Directive? {
    levels.reversed().lazy.compactMap { level in level.last { $0.name == name } }.first
  }

  /// The same for one that may be given several times: a block that has any inherits none.
  func directives(_ name: String) -> [Directive] {
    levels.reversed().lazy.map { level in level.filter { $0.name == name } }
      .first { !$0.isEmpty } ?? []
  }

  /// A directive of this kind of pass: `read_timeout` is `proxy_read_timeout` or its like.
  func own(_ name: String) -> Directive? { directive("\(kind.rawValue)_\(name)") }

  func name(_ name: String) -> String { "\(kind.rawValue)_\(name)" }

  func time(_ name: String) -> TimeSpan? {
    own(name)?.arguments.first.flatMap(parseTime)
  }

  /// The words of `proxy_next_upstream` that hold here.
  var nextUpstream: Set<String> {
    Set(own("next_upstream")?.arguments ?? ["error", "timeout"])
  }

  /// The `Connection` header that nginx sends: nil: its default; empty: none.
  var connectionHeader: Directive? {
    directives(name("set_header")).last { $0.arguments.first?.lowercased() == "connection" }
  }

  enum Reuse: Equatable {
    /// Connections are not kept, whatever the group says.
    case never
    /// nginx asks for the connection to be closed, and keeps it when the backend does not say that it
    /// will (nginx-1.22.1, reproduced): a connection that is dead for certain.
    case againstItsOwnWords
    case full
  }

  /// What becomes of `keepalive` here.
  func reuse(_ subject: AuditSubject) -> Reuse {
    switch kind {
    case _ where isStream: return .never
    case .grpc, .memcached: return .full
    case .uwsgi, .scgi: return .never
    case .fastcgi: return own("keep_conn")?.arguments.first == "on" ? .full : .never
    case .proxy:
      let isOld =
        own("http_version")?.arguments.first.map { $0 == "1.0" } ?? !subject.keepsByDefault
      let header = connectionHeader?.arguments.dropFirst().first
      let asksToClose = header.map { $0.lowercased() == "close" } ?? !subject.keepsByDefault
      return isOld || asksToClose ? .againstItsOwnWords : .full
    }
  }

  /// Only UNIX sockets, or none known.
  var hasTCP: Bool { groups.flatMap(\.servers).flatMap(\.peers).contains { $0.endpoint != nil } }

  /// Whether something between nginx and a peer may track connections: it is not on this host.
  var hasDistantPeer: Bool {
    groups.flatMap(\.servers).flatMap(\.peers).contains {
      $0.endpoint.map { !$0.address.isLoopback } ?? false
    }
  }

  var groupName: String { groups.first?.name ?? String(escapingControlsIn: target.utf8) }
}

extension NginxSettings {
  /// Gives each group the retry rules of the locations that lead to it, where they agree.
  mutating func fillRetryRules(_ directives: [Directive]) {
    var rules: [Int: Set<RetryRules>] = [:]
    for site in PassSite.all(in: directives, self) where !site.isStream {
      for target in passes where target.location == site.pass.location {
        rules[target.group, default: []].insert(site.retryRules)
      }
    }
    for (group, found) in rules where found.count == 1 { upstreams[group].retry = found.first }
  }
}
