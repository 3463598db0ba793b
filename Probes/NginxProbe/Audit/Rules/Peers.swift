import Evidence

extension AuditRule {
  /// One stale connection takes a healthy peer out.
  static let raceDisablesPeers = AuditRule(
    id: "race-disables-peers",
    summary: "with max_fails=1 one stale connection disables a healthy peer"
  ) { subject in
    subject.reusingGroups.compactMap { group, block, _ -> AuditFinding? in
      guard group.peerCount > 1, group.servers.contains(where: { $0.maxFails == 1 }),
        let server = servers(block).first(where: {
          !$0.arguments.contains { $0.hasPrefix("max_fails=") }
        })
          ?? servers(block).first
      else { return nil }
      return AuditFinding(
        "race-disables-peers", .warning, at: server,
        "one failure takes a peer of \(group.name) out for \(longest(group)) (max_fails=1), and a kept "
          + "connection that the backend has closed is one",
        leadsTo: "healthy peers disabled one after the other, then `no live upstreams` for every "
          + "request until the time is over",
        fix: .init(
          "server \(server.arguments.first ?? "...") max_fails=3 fail_timeout=5s;",
          in: "upstream \(group.name), each server",
          tradeOff: "a peer that is really dead costs two more tries before it is left out; "
            + "max_fails=0 never leaves one out"))
    }
  }

  private static func servers(_ block: Directive) -> [Directive] {
    (block.block ?? []).filter { $0.name == "server" }
  }

  private static func longest(_ group: UpstreamGroup) -> TimeSpan {
    group.servers.map(\.failTimeout).max() ?? .seconds(10)
  }

  /// Each worker finds out by itself.
  static let stateNotShared = AuditRule(
    id: "state-not-shared", summary: "without a zone each worker counts failures by itself"
  ) { subject in
    subject.explicitGroups.compactMap { group, block -> AuditFinding? in
      // 1.9.0 brought zones to the open version.
      guard group.peerCount > 1, !group.hasZone, subject.isAtLeast(1, 9, 0) ?? true,
        !subject.sites(of: group).isEmpty
      else { return nil }
      let workers = subject.workers
      if let workers, workers <= 1 { return nil }
      let count = workers.map { "each of the \($0) workers" } ?? "each worker"
      return AuditFinding(
        "state-not-shared", .note, at: block,
        "upstream \(group.name) has no zone: \(count) counts failures, and balances, by itself",
        leadsTo:
          "every worker tries a dead peer anew, and a failure in one says nothing to the others; "
          + "max_conns holds per worker",
        fix: .init(
          "zone \(zoneName(group)) 64k;", in: "upstream \(group.name)",
          tradeOff: "64 kB of shared memory; a peer that one worker finds dead is left out by all"))
    }
  }

  private static func zoneName(_ group: UpstreamGroup) -> String {
    let plain = group.name.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
    return plain.isEmpty ? "upstream" : plain
  }

  /// A group of one server that is not one.
  static let nameWithSeveralAddresses = AuditRule(
    id: "name-with-several-addresses",
    summary: "a name with several addresses makes a group whose peers can be disabled"
  ) { subject in
    subject.settings.upstreams.compactMap { group -> AuditFinding? in
      guard let server = group.servers.first(where: { isAmbiguous($0, subject) }) else {
        return nil
      }
      let at: Directive?
      if group.isExplicit {
        let block = subject.block(of: group)
        at =
          block?.block?.first {
            $0.name == "server"
              && $0.arguments.first.map { $0.hasPrefix(host(server.name)) } ?? false
          } ?? block
      } else {
        at =
          subject.sites.first { $0.groups.contains { $0.name == group.name && !$0.isExplicit } }?
          .pass
      }
      guard let at, group.servers.count == 1 || isLocalhost(server.name) else { return nil }
      return severalAddresses(server, group, at)
    }
  }

  private static func severalAddresses(
    _ server: UpstreamServer, _ group: UpstreamGroup, _ at: Directive
  ) -> AuditFinding {
    let count = server.peers.count
    let addresses = count > 1 ? "\(count) addresses" : "mostly two addresses (127.0.0.1 and ::1)"
    let port = server.name.split(separator: ":").last.map(String.init) ?? ""
    let fix: AuditFinding.Fix
    if isLocalhost(server.name) {
      let fixed = Int(port) == nil ? "127.0.0.1" : "127.0.0.1:\(port)"
      let written = at.arguments.first ?? ""
      fix = .init(
        group.isExplicit
          ? "server \(fixed);"
          : "\(at.name) \(written.replacing("localhost", with: "127.0.0.1"));",
        in: group.isExplicit ? "upstream \(group.name)" : "in its place",
        tradeOff: "a backend that listens on ::1 alone is not found")
    } else {
      fix = .init(
        "server \(server.name) max_fails=0;",
        in: group.isExplicit ? "upstream \(group.name)" : "an upstream block of its own",
        tradeOff: "a dead address is tried each time")
    }
    return AuditFinding(
      "name-with-several-addresses", count > 1 ? .warning : .note, at: at,
      "\(server.name) has \(addresses): to nginx these are \(max(2, count)) peers, which failures "
        + "disable",
      leadsTo:
        "after one failure on each, `no live upstreams` for 10 s, where a single address would "
        + "be tried every time",
      fix: fix)
  }

  private static func host(_ name: String) -> String {
    String(name.prefix { $0 != ":" })
  }

  private static func isLocalhost(_ name: String) -> Bool {
    host(name).lowercased() == "localhost"
  }

  private static func isAmbiguous(_ server: UpstreamServer, _ subject: AuditSubject) -> Bool {
    guard server.maxFails > 0, !server.isDown else { return false }
    // Of a file, nobody knows what the name means where nginx runs.
    return server.peers.count > 1 || isLocalhost(server.name) && subject.isFile
  }

  /// A backend's own 5xx counts as a failure of the peer, without a line at level error.
  static let statusDisablesPeers = AuditRule(
    id: "status-disables-peers",
    summary: "http_5xx in proxy_next_upstream disables peers, and error_log error does not show it"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      let codes = site.nextUpstream.filter {
        $0.hasPrefix("http_") && !["http_403", "http_404"].contains($0)
      }.sorted()
      guard !codes.isEmpty, let at = site.own("next_upstream"),
        let group = site.groups.first(where: \.canBeDisabled)
      else { return nil }
      let isSilent = (subject.settings.errorLogs.map(\.level).max() ?? .error) < .warn
      return AuditFinding(
        "status-disables-peers", isSilent ? .warning : .note, at: at,
        "\(codes.joined(separator: " ")) counts each such response as a failure of the peer in "
          + group.name
          + (isSilent ? ", and no error_log is at level warn, where nginx says so" : ""),
        leadsTo: "an application's 5xx takes peers out for all requests, up to `no live upstreams` "
          + "with no error before it",
        fix: .init(
          "\(at.name) error timeout;"
            + (isSilent ? "\nerror_log /var/log/nginx/error.log warn;" : ""),
          in: "the location; or max_fails=0 on the servers of \(group.name)",
          tradeOff: "a 5xx is then the client's answer instead of a second try"))
    }
  }

  /// A full peer is no live peer.
  static let maxConns = AuditRule(
    id: "max-conns", summary: "max_conns without a spare peer answers 502 under load"
  ) { subject in
    subject.explicitGroups.compactMap { group, block -> AuditFinding? in
      let servers = servers(block)
      let limited = servers.filter { server in
        server.arguments.contains { $0.hasPrefix("max_conns=") && $0 != "max_conns=0" }
      }
      guard let first = limited.first, limited.count == servers.count else { return nil }
      return AuditFinding(
        "max-conns", .note, at: first,
        "every server of \(group.name) has max_conns: what exceeds their sum has no peer",
        leadsTo: "`no live upstreams` and a 502 at once, without any failure before it",
        fix: .init(
          "server 127.0.0.1:8081 backup;",
          in: "upstream \(group.name) (a spare, or a page that says "
            + "busy)", tradeOff: "requests beyond the limit are answered by the spare"))
    }
  }
}
