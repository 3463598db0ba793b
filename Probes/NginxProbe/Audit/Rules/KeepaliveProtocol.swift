import Evidence

extension AuditRule {
  /// `keepalive` that HTTP/1.0 or `Connection: close` defeats.
  ///
  /// Until 1.29.6 nginx sends HTTP/1.0 with `Connection: close` and yet keeps the connection when the
  /// response does not say that it will be closed (reproduced with 1.22.1): a connection that the
  /// backend has closed by the time it is used again.
  static let keepaliveNotUsed = AuditRule(
    id: "keepalive-not-used",
    summary: "keepalive needs HTTP/1.1 and no `Connection: close` towards the backend"
  ) { subject in
    subject.explicitGroups.flatMap { group, _ -> [AuditFinding] in
      guard group.keepalive != nil else { return [] }
      return subject.sites(of: group).compactMap { site -> AuditFinding? in
        switch site.kind {
        case .proxy where site.reuse(subject) == .againstItsOwnWords:
          return notReused(site, group, subject)
        case .proxy: return closedByMap(site, group, subject)
        case .fastcgi where site.reuse(subject) == .never:
          guard
            subject.block(of: group)?.block?.contains(where: { $0.name == "keepalive" }) ?? false
          else { return nil }
          return AuditFinding(
            "keepalive-not-used", .warning, at: site.pass,
            "upstream \(group.name) has keepalive, but FastCGI connections are closed after each "
              + "request without `fastcgi_keep_conn on`",
            leadsTo: "a new connection for each request, and with many of them "
              + "`connect() ... failed (99: Cannot assign requested address)`",
            fix: .init(
              "fastcgi_keep_conn on;", in: "the location (or the server)",
              tradeOff: "each idle connection occupies a php-fpm child: keep keepalive below "
                + "pm.max_children"))
        default: return nil
        }
      }
    }
  }

  private static func notReused(
    _ site: PassSite, _ group: UpstreamGroup, _ subject: AuditSubject
  ) -> AuditFinding? {
    // By default on since 1.29.7: without a word about keepalive nobody meant to have it.
    let isWritten =
      subject.block(of: group)?.block?.contains { $0.name == "keepalive" } ?? false
    guard isWritten else { return nil }
    var lines: [String] = []
    var causes: [String] = []
    let version = site.own("http_version")
    if version.map({ $0.arguments.first == "1.0" }) ?? !subject.keepsByDefault {
      lines.append("proxy_http_version 1.1;")
      causes.append(
        version == nil ? "nginx speaks HTTP/1.0 by default" : "proxy_http_version is 1.0")
    }
    let header = site.connectionHeader
    if header == nil, !subject.keepsByDefault {
      lines.append("proxy_set_header Connection \"\";")
      causes.append(
        hasOuterConnection(site)
          ? "the proxy_set_header lines here replace the outer ones, with them the one of Connection"
          : "nginx sends `Connection: close` by default")
    } else if let header, header.arguments.last?.lowercased() == "close" {
      lines.append("proxy_set_header Connection \"\";")
      causes.append("it sends `Connection: close`")
    }
    return AuditFinding(
      "keepalive-not-used", .warning,
      at: header ?? version ?? site.pass,
      "upstream \(group.name) has keepalive, but \(causes.joined(separator: ", and "))",
      leadsTo: "connections that the backend closes at once, kept all the same where it does not "
        + "announce it: `upstream prematurely closed connection` on their next use",
      fix: .init(
        lines.joined(separator: "\n"), in: "the location (or the server)",
        tradeOff: "connections are then really reused: keepalive_timeout must stay below the "
          + "backend's own"))
  }

  private static func hasOuterConnection(_ site: PassSite) -> Bool {
    site.levels.contains { level in
      level.contains {
        $0.name == "proxy_set_header" && $0.arguments.first?.lowercased() == "connection"
      }
    }
  }

  /// The usual map for websockets sends `close` with every ordinary request.
  private static func closedByMap(
    _ site: PassSite, _ group: UpstreamGroup, _ subject: AuditSubject
  ) -> AuditFinding? {
    guard let header = site.connectionHeader, let value = header.arguments.last,
      value.hasPrefix("$")
    else { return nil }
    let maps = site.levels.joined().filter { $0.name == "map" && $0.arguments.last == value }
    guard
      let entry = maps.flatMap({ $0.block ?? [] }).first(where: {
        $0.arguments.first?.lowercased() == "close"
      })
    else { return nil }
    return AuditFinding(
      "keepalive-not-used", .warning, at: entry,
      "\(value) is `close` for requests that upgrade nothing, so upstream \(group.name)'s keepalive "
        + "has no effect on them",
      leadsTo: "a new connection for each request, and a connection kept against its own "
        + "`Connection: close` where the backend does not announce that it closes",
      fix: .init(
        "'' '';", in: "the map of \(value), instead of `'' close;`",
        tradeOff: "connections are then really reused: keepalive_timeout must stay below the "
          + "backend's own"))
  }

  /// uwsgi and scgi have no way to keep a connection.
  static let keepaliveUnsupported = AuditRule(
    id: "keepalive-unsupported", summary: "keepalive has no effect on uwsgi and scgi"
  ) { subject in
    subject.explicitGroups.compactMap { group, block -> AuditFinding? in
      let sites = subject.sites(of: group)
      guard let directive = block.block?.first(where: { $0.name == "keepalive" }),
        !sites.isEmpty, sites.allSatisfy({ [.uwsgi, .scgi].contains($0.kind) })
      else { return nil }
      return AuditFinding(
        "keepalive-unsupported", .note, at: directive,
        "keepalive in upstream \(group.name) has no effect: \(sites[0].kind.rawValue) connections "
          + "end with each response",
        leadsTo: "no error; a new connection for each request, as without it",
        fix: .init(
          "# without keepalive", in: "upstream \(group.name)", tradeOff: "none"))
    }
  }
}
