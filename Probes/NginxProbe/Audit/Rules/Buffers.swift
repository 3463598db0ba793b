import Evidence

extension AuditRule {
  /// The header has a buffer of its own, which `proxy_buffers` does not touch.
  static let proxyBufferSize = AuditRule(
    id: "proxy-buffer-size", summary: "a response's header must fit proxy_buffer_size"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, ![.memcached].contains(site.kind) else { return nil }
      let errors = site.groups.reduce(0) { $0 + subject.errors("header-too-large", in: $1) }
      let buffers = site.own("buffers")
      let name = site.name("buffer_size")
      guard errors > 0 || buffers != nil && site.own("buffer_size") == nil else { return nil }
      let seen = errors > 0 ? "; the session had \(errors) errors of that kind" : ""
      return AuditFinding(
        "proxy-buffer-size", errors > 0 ? .warning : .note,
        at: site.own("buffer_size") ?? buffers ?? site.pass,
        (site.own("buffer_size") == nil
          ? "\(name) has its default of one page (4 kB), whatever \(site.name("buffers")) says"
          : "\(name) is \(site.own("buffer_size")?.arguments.first ?? "")") + seen,
        leadsTo: "`upstream sent too big header` and a 502, when cookies or tokens grow",
        fix: .init(
          "\(name) 16k;", in: "the location (or http)",
          tradeOff: "16 kB instead of 4 kB for each request that is being answered"))
    }
  }

  /// nginx takes larger headers than uwsgi does.
  static let uwsgiBufferSize = AuditRule(
    id: "uwsgi-buffer-size", summary: "uwsgi drops requests above its buffer-size (4096)"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard site.kind == .uwsgi else { return nil }
      return AuditFinding(
        "uwsgi-buffer-size", .note, at: site.pass,
        "nginx takes request headers of 8 kB a line (large_client_header_buffers), uwsgi by default "
          + "4096 bytes in all",
        leadsTo:
          "`recv() failed (104: Connection reset by peer)` for requests with large cookies alone",
        fix: .init(
          "buffer-size = 32768", in: "uwsgi's own configuration",
          tradeOff: "32 kB for each of its cores"))
    }
  }
}
