import Evidence

extension AuditRule {
  /// Plain HTTP to a port of TLS, or the other way round.
  static let schemeMismatch = AuditRule(
    id: "scheme-mismatch", summary: "the scheme of proxy_pass must be that of the port"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, [.proxy, .grpc].contains(site.kind) else { return nil }
      let secure = site.kind == .grpc ? "grpcs" : "https"
      let plain = site.kind == .grpc ? "grpc" : "http"
      let isSecure = site.target.lowercased().hasPrefix(secure + "://")
      let endpoints = site.groups.flatMap(\.servers).flatMap(\.peers).compactMap(\.endpoint)
      let ports = Set(endpoints.map(\.port))
      guard let port = ports.first, ports.count == 1 else { return nil }
      let isWrong = isSecure ? port == 80 : port == 443
      guard isWrong else { return nil }
      let (wrong, right) = isSecure ? (secure, plain) : (plain, secure)
      return AuditFinding(
        "scheme-mismatch", .error, at: site.pass,
        "`\(wrong)://` leads to port \(port), which serves \(isSecure ? "plain HTTP" : "TLS")",
        leadsTo: isSecure
          ? "`SSL_do_handshake() failed (... wrong version number)` for every request"
          : "400 (plain HTTP request sent to an HTTPS port), or a reset, for every request",
        fix: .init(
          "\(site.pass.name) \(right)://\(site.target.drop { $0 != ":" }.dropFirst(3));",
          in: "in its place"
            + (isSecure ? "; or the port of TLS in upstream \(site.groupName)" : ""),
          tradeOff: isSecure
            ? "the way to the backend is not encrypted" : "a handshake for each new connection"
        ))
    }
  }

  /// A backend with several names needs to be told which.
  static let noServerName = AuditRule(
    id: "no-server-name", summary: "TLS to a named backend needs proxy_ssl_server_name on"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard !site.isStream, site.kind == .proxy, site.target.lowercased().hasPrefix("https://"),
        site.own("ssl_server_name")?.arguments.first != "on"
      else { return nil }
      let name = String(
        site.target.dropFirst(8).prefix { $0 != "/" && $0 != ":" && $0 != "?" && $0 != "$" })
      // An address has no name, and a group's name is nobody's.
      guard !name.isEmpty, IPAddress(parsing: name[...]) == nil, !name.hasPrefix("["),
        !site.groups.contains(where: \.isExplicit), name.contains(".")
      else { return nil }
      return AuditFinding(
        "no-server-name", .warning, at: site.pass,
        "nginx does not tell \(String(escapingControlsIn: name.utf8)) which name it wants "
          + "(proxy_ssl_server_name is off by default)",
        leadsTo:
          "`peer closed connection in SSL handshake` or an alert, from every backend that serves "
          + "several names",
        fix: .init(
          "proxy_ssl_server_name on;", in: "the location",
          tradeOff: "the name is readable on the wire"))
    }
  }
}
