import Evidence

extension AuditRule {
  /// nginx keeps idle connections as long as the backend does, or longer: the race of nginx's next
  /// request with the backend's FIN.
  static let keepaliveTimeout = AuditRule(
    id: "keepalive-timeout",
    summary: "the upstream's keepalive_timeout must be below the backend's idle timeout"
  ) { subject in
    subject.reusingGroups.compactMap { group, block, _ -> AuditFinding? in
      guard let kept = group.keepaliveTimeout else {
        return AuditFinding(
          "keepalive-timeout", .warning, at: block,
          "this nginx keeps idle connections of upstream \(group.name) until the backend closes them "
            + "(keepalive_timeout came with 1.15.3)",
          leadsTo: race,
          fix: .init(
            "# upgrade nginx to 1.15.3 or later, then: keepalive_timeout 4s;",
            in: "upstream \(group.name)", tradeOff: "an upgrade"))
      }
      let directive = block.block?.last { $0.name == "keepalive_timeout" }
      if let timeout = subject.idleTimeout(of: group) {
        guard kept + .seconds(1) > timeout else { return nil }
        return AuditFinding(
          "keepalive-timeout", .error, at: directive ?? block,
          "nginx keeps idle connections of upstream \(group.name) for \(kept), the backend was seen "
            + "to close them after \(timeout)",
          leadsTo: race, fix: fix(group, below: timeout))
      }
      guard kept >= .seconds(60) else { return nil }
      let how = directive == nil ? "\(kept), the default" : "\(kept)"
      return AuditFinding(
        "keepalive-timeout", .warning, at: directive ?? block,
        "nginx keeps idle connections of upstream \(group.name) for \(how): longer than most backends "
          + "do (gunicorn 2 s, Node before 26, uvicorn and Apache 5 s, Tomcat 20 s, Jetty 30 s, "
          + "Puma 65 s)",
        leadsTo: race,
        fix: .init(
          "keepalive_timeout 4s;", in: "upstream \(group.name)",
          tradeOff: "more new connections at low load; or raise the backend's own timeout above "
            + "nginx's (75 s), which spares them"))
    }
  }

  private static let race =
    "a request that meets the backend's FIN: `upstream prematurely closed connection` or "
    + "`recv() failed (104: Connection reset by peer)`; a GET is tried again, a POST is a 502"

  private static func fix(_ group: UpstreamGroup, below timeout: TimeSpan) -> AuditFinding.Fix {
    let seconds = timeout.nanoseconds / 1_000_000_000
    let milliseconds = timeout.nanoseconds / 1_000_000
    // A second's margin, or a fifth of a short one: the two clocks start with different packets.
    let value = seconds >= 3 ? "\(seconds - 1)s" : "\(max(1, milliseconds * 4 / 5))ms"
    return .init(
      "keepalive_timeout \(value);", in: "upstream \(group.name)",
      tradeOff: "more new connections at low load; or raise the backend's own timeout above nginx's"
    )
  }

  /// nginx sends more requests on a connection than any backend takes.
  static let keepaliveRequests = AuditRule(
    id: "keepalive-requests",
    summary: "keepalive_requests and keepalive_time must be below the backend's own limits"
  ) { subject in
    subject.reusingGroups.flatMap { group, block, _ -> [AuditFinding] in
      var findings: [AuditFinding] = []
      let raced = subject.errors("request-limit", in: group)
      let directive = block.block?.last { $0.name == "keepalive_requests" }
      let allowed = group.keepaliveRequests ?? .max
      if raced > 0 || directive != nil && allowed > 1000 {
        let seen = raced > 0 ? "; the session had \(raced) errors of that kind" : ""
        let number = allowed == .max ? "any number of" : "\(allowed)"
        findings.append(
          AuditFinding(
            "keepalive-requests", raced > 0 ? .warning : .note, at: directive ?? block,
            "nginx sends \(number) requests on one connection to \(group.name); Apache and "
              + "Tomcat close after 100 by default, Puma after 999, hypercorn after 1000\(seen)",
            leadsTo: "a close right behind a response, which a next request may meet: "
              + "`upstream prematurely closed connection`",
            fix: .init(
              "keepalive_requests 99;", in: "upstream \(group.name)",
              tradeOff: "one more handshake in a hundred requests; or raise the backend's limit")))
      }
      if let time = block.block?.last(where: { $0.name == "keepalive_time" }),
        let span = time.arguments.first.flatMap(parseTime), span > .seconds(3600)
      {
        findings.append(
          AuditFinding(
            "keepalive-requests", .note, at: time,
            "nginx uses a connection to \(group.name) for \(span), its default is one hour",
            leadsTo: "connections older than the backend, or what is between, allows",
            fix: .init(
              "keepalive_time 1h;", in: "upstream \(group.name)",
              tradeOff: "a new handshake each hour")))
      }
      return findings
    }
  }

  /// What an upgrade to 1.29.7 changed without a word in the configuration.
  static let changedDefaults = AuditRule(
    id: "changed-defaults",
    summary: "since 1.29.7 an upstream block keeps connections by default"
  ) { subject in
    guard subject.keepsByDefault else { return [] }
    return subject.explicitGroups.compactMap { group, block -> AuditFinding? in
      guard group.keepalive != nil,
        !(block.block ?? []).contains(where: { $0.name.hasPrefix("keepalive") }),
        subject.sites(of: group).contains(where: { $0.reuse(subject) == .full && $0.kind == .proxy }
        )
      else { return nil }
      return AuditFinding(
        "changed-defaults", .warning, at: block,
        "upstream \(group.name) says nothing of keepalive: since 1.29.7 that means `keepalive 32 local`"
          + " over HTTP/1.1, before it meant a new connection for each request",
        leadsTo: "races with the backend's idle timeout that this configuration never had",
        fix: .init(
          "keepalive 32;\nkeepalive_timeout 4s;", in: "upstream \(group.name)",
          tradeOff: "`keepalive 0;` instead restores the old ways, and their cost"))
    }
  }
}
