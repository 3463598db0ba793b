import Evidence

extension AuditRule {
  /// Each proxied request needs two connections, and so two descriptors.
  static let descriptors = AuditRule(
    id: "descriptors", summary: "worker_rlimit_nofile below worker_connections runs out first"
  ) { subject in
    let events = subject.main("events")
    let written = events?.block?.last { $0.name == "worker_connections" }
    guard !subject.sites.isEmpty,
      let connections = written.map({ $0.arguments.first.flatMap { Int($0) } }) ?? 512
    else { return [] }
    let limit = subject.main("worker_rlimit_nofile")
    let descriptors = limit?.arguments.first.flatMap { Int($0) } ?? subject.host.workerDescriptors
    guard let descriptors, descriptors < connections else { return [] }
    return [
      AuditFinding(
        "descriptors", .warning, at: limit ?? written ?? subject.top,
        "a worker may open \(descriptors) files, and hold \(connections) connections, each of which is "
          + "one",
        leadsTo:
          "`socket() failed (24: Too many open files) while connecting to upstream`: a 500 that "
          + "no backend made",
        fix: .init(
          "worker_rlimit_nofile \(connections * 2);", in: "the main level", tradeOff: "none"))
    ]
  }

  /// Every request takes a port for a minute.
  static let ephemeralPorts = AuditRule(
    id: "ephemeral-ports", summary: "without keepalive each request takes a local port"
  ) { subject in
    subject.explicitGroups.compactMap { group, block -> AuditFinding? in
      let sites = subject.sites(of: group).filter { !$0.isStream && $0.hasTCP }
      guard group.keepalive == nil, let site = sites.first, [.proxy, .fastcgi].contains(site.kind)
      else { return nil }
      let ports = subject.host.localPorts.map { $0.count } ?? 28_232
      return AuditFinding(
        "ephemeral-ports", ports < 10_000 ? .warning : .note, at: block,
        "upstream \(group.name) has no keepalive: each request opens a connection, and a local port "
          + "stays taken for 60 s after it where nginx closes first (\(ports) ports)",
        leadsTo: "`connect() to ... failed (99: Cannot assign requested address)` above about "
          + "\(ports / 60) requests per second and backend",
        fix: .init(
          "keepalive 32;\nkeepalive_timeout 4s;",
          in: "upstream \(group.name)"
            + (site.kind == .proxy
              ? ", with `proxy_http_version 1.1; proxy_set_header Connection \"\";`"
              : ", with `fastcgi_keep_conn on;`"),
          tradeOff:
            "kept connections can be stale: keepalive_timeout must stay below the backend's "
            + "idle timeout"))
    }
  }

  /// What a UNIX socket's owner must provide.
  static let unixSocket = AuditRule(
    id: "unix-socket", summary: "a UNIX socket must exist, be allowed, and have a queue"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      let paths = site.groups.flatMap(\.servers).flatMap(\.peers).compactMap { peer in
        if case .unix(let path) = peer { path } else { nil }
      }
      guard let path = paths.first else { return nil }
      if let dead = paths.lazy.compactMap({ path in
        subject.host.deadSockets[path].map { (path, $0) }
      }).first {
        return AuditFinding(
          "unix-socket", .warning, at: site.pass, "unix:\(dead.0): \(dead.1)",
          leadsTo: "`connect() to unix:\(dead.0) failed` and a 502 for every request",
          fix: .init(
            "# start the backend, and let nginx's user write to its socket",
            in: "the backend's service", tradeOff: "none"))
      }
      guard let somaxconn = subject.host.somaxconn, somaxconn <= 128 else { return nil }
      return AuditFinding(
        "unix-socket", .note, at: site.pass,
        "the queue of unix:\(path) holds at most \(somaxconn) connections (net.core.somaxconn)",
        leadsTo:
          "`connect() to unix:\(path) failed (11: Resource temporarily unavailable)` in a burst: "
          + "a UNIX socket whose queue is full refuses at once",
        fix: .init(
          "sysctl net.core.somaxconn=4096",
          in: "the host; and the backend's own backlog (uwsgi listen, php-fpm listen.backlog)",
          tradeOff: "requests wait longer in the queue instead of failing"))
    }
  }
}
