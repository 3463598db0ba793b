import Evidence

extension AuditRule {
  /// Idle connections through what forgets them.
  static let noSocketKeepalive = AuditRule(
    id: "no-socket-keepalive",
    summary: "long waits on distant backends need proxy_socket_keepalive"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, site.hasDistantPeer, subject.isAtLeast(1, 15, 6) ?? true,
        site.own("socket_keepalive")?.arguments.first != "on"
      else { return nil }
      let kept =
        site.groups.compactMap { site.reuse(subject) == .full ? $0.keepaliveTimeout : nil }
        .max() ?? .zero
      let read = site.time("read_timeout") ?? .seconds(60)
      // The shortest idle time of a common device (Azure 240 s, AWS 350 s).
      guard max(kept, read) >= .seconds(240) else { return nil }
      let why =
        read >= kept ? "\(site.name("read_timeout")) is \(read)" : "keepalive_timeout is \(kept)"
      return AuditFinding(
        "no-socket-keepalive", .warning, at: site.own("read_timeout") ?? site.pass,
        "connections to \(site.groupName), which is not on this host, may stay silent for long "
          + "(\(why)), and nothing keeps a NAT or load balancer between from forgetting them",
        leadsTo:
          "`upstream timed out (110)` on connections that a device dropped in silence (AWS after "
          + "350 s, Azure after 240 s)",
        fix: .init(
          "\(site.name("socket_keepalive")) on;",
          in: "the location; and sysctl net.ipv4.tcp_keepalive_time=120"
            + (subject.host.tcpKeepaliveTime.map { " (now \($0))" } ?? ""),
          tradeOff: "a packet every two minutes for each idle connection"))
    }
  }

  /// A dead host holds each request for a minute.
  static let connectTimeout = AuditRule(
    id: "connect-timeout",
    summary: "proxy_connect_timeout of a minute holds requests on a dead host"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, site.hasTCP else { return nil }
      let name = site.name("connect_timeout")
      let written = site.own("connect_timeout")
      let timeout = site.time("connect_timeout") ?? .seconds(60)
      guard timeout >= .seconds(60) else { return nil }
      let fix = AuditFinding.Fix(
        "\(name) 3s;", in: "the server (or http)",
        tradeOff: "a backend that needs longer to accept (a full queue) counts as dead")
      if timeout > .seconds(130) {
        return AuditFinding(
          "connect-timeout", .warning, at: written ?? site.pass,
          "\(name) is \(timeout): the kernel gives up first, after about 130 s",
          leadsTo: "`connect() failed (110: Connection timed out)` and a 502 instead of a 504",
          fix: fix)
      }
      return AuditFinding(
        "connect-timeout", .note, at: written ?? site.pass,
        "\(name) is \(written == nil ? "its default, " : "")\(timeout)",
        leadsTo:
          "each request that meets an unreachable backend waits a minute before the next one is "
          + "tried: `upstream timed out (110) while connecting to upstream`",
        fix: fix)
    }
  }

  /// A reload that cuts what is still running.
  static let shutdownTimeout = AuditRule(
    id: "shutdown-timeout",
    summary: "worker_shutdown_timeout below a request's time cuts it at a reload"
  ) { subject in
    guard let at = subject.main("worker_shutdown_timeout"),
      let limit = at.arguments.first.flatMap(parseTime)
    else { return [] }
    let slow = subject.sites.filter { !$0.isStream }
      .map { ($0, $0.time("read_timeout") ?? .seconds(60)) }
      .max { $0.1 < $1.1 }
    guard let (site, longest) = slow, limit < longest else { return [] }
    return [
      AuditFinding(
        "shutdown-timeout", .warning, at: at,
        "worker_shutdown_timeout \(limit) is shorter than \(site.name("read_timeout")) \(longest) "
          + "(\(site.pass.location))",
        leadsTo: "requests that are cut at a reload: status 000, no line in the error log",
        fix: .init(
          "worker_shutdown_timeout \(longest.nanoseconds / 1_000_000_000 + 5)s;",
          in: "the main level",
          tradeOff: "old workers stay that much longer after a reload"))
    ]
  }

  /// nginx waits less than the backend's own master.
  static let readTimeoutBelowMaster = AuditRule(
    id: "read-timeout", summary: "a short proxy_read_timeout closes connections on working backends"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, let at = site.own("read_timeout"),
        let timeout = at.arguments.first.flatMap(parseTime), timeout < .seconds(5),
        site.nextUpstream.contains("timeout"),
        site.groups.contains(where: { $0.peerCount > 1 })
      else { return nil }
      return AuditFinding(
        "read-timeout", .note, at: at,
        "\(at.name) is \(timeout), and a request that takes longer is sent to the next backend too",
        leadsTo: "the same slow work on every backend at once, each counted as failed: 504, then "
          + "`no live upstreams`",
        fix: .init(
          "\(site.name("next_upstream")) error;", in: "the location",
          tradeOff: "a backend that hangs costs its requests a 504 instead of a second try"))
    }
  }
}
