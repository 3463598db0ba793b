import Evidence

extension AuditRule {
  /// What the levels of the error logs keep from them.
  static let errorLogLevel = AuditRule(
    id: "error-log-level", summary: "an error_log at level info shows what causes the errors"
  ) { subject in
    guard !subject.sites.isEmpty else { return [] }
    let logs = subject.settings.errorLogs
    guard let level = logs.map(\.level).max(), level < .info else { return [] }
    let hidden: [(LogLevel, String)] = [
      (.error, "upstream errors themselves"), (.warn, "disabled peers"),
      (.notice, "reloads and restarts"), (.info, "clients that left, idle websockets"),
    ]
    let lost = hidden.filter { level < $0.0 }.map(\.1).joined(separator: "; ")
    let at = logs.compactMap(\.location).first.flatMap { subject.directive(at: $0) } ?? subject.top
    return [
      AuditFinding(
        "error-log-level", level < .error ? .error : level < .warn ? .warning : .note, at: at,
        "no error log is more talkative than level \(level.name), so these are not logged: \(lost)",
        leadsTo:
          "errors whose causes are in no log (`no live upstreams` without what disabled them)",
        fix: .init(
          "error_log /var/log/nginx/upclose.log info;",
          in: "the main level, beside the present one",
          tradeOff: "a line for each client that leaves early; rotate it with the others"))
    ]
  }

  /// Fields without which a request cannot be joined to its error, its try and its packets.
  static let logFormat = AuditRule(
    id: "log-format", summary: "the access log needs $upstream_*, $pid, $connection and $msec"
  ) { subject in
    let formats = AccessLogFormats(subject.directives)
    var seen: Set<String> = []
    return subject.sites.filter { !$0.isStream }.flatMap { site -> [AuditFinding] in
      let logs = site.directives("access_log")
      if logs.contains(where: { $0.arguments.first == "off" }) {
        return [
          AuditFinding(
            "log-format", .note, at: logs[0],
            "requests to \(site.groupName) are not in any access log",
            leadsTo: "retries that succeeded, cut responses behind a 200 and response times that "
              + "nobody sees",
            fix: .init(
              "access_log /var/log/nginx/upclose-access.log upclose;",
              in: "the location, with the log_format that `upclose doctor` prints",
              tradeOff: "a line for each request"))
        ]
      }
      let used = logs.isEmpty ? [nil] : logs.map { Optional($0) }
      return used.flatMap { log -> [AuditFinding] in
        let at = log ?? subject.top
        guard seen.insert(at.location).inserted else { return [] }
        return formatFindings(log, at, formats, used.count)
      }
    }
  }

  private static func formatFindings(
    _ log: Directive?, _ at: Directive, _ formats: AccessLogFormats, _ logCount: Int
  ) -> [AuditFinding] {
    let words = log?.arguments ?? []
    let name = words.dropFirst().first { !$0.contains("=") } ?? "combined"
    var findings: [AuditFinding] = []
    let missing = formats[name].map { AccessLogFormat.missingFields($0.variables) } ?? []
    if !missing.isEmpty {
      let isBlind = missing.contains("$upstream_addr") || missing.contains("$upstream_status")
      findings.append(
        AuditFinding(
          "log-format", isBlind ? .warning : .note,
          at: log == nil ? at : formats[name]?.directive ?? at,
          "log_format \(String(escapingControlsIn: name.utf8)) lacks \(missing.joined(separator: " "))",
          leadsTo: "a request's tries cannot be joined to its errors and packets; retries and cut "
            + "responses behind a 200 stay unseen",
          fix: .init(
            AccessLogFormat.recommendedDirective
              + "\naccess_log /var/log/nginx/upclose-access.log upclose;",
            in: "http (a second log beside the present one)",
            tradeOff: "about 400 bytes more for each request")))
    }
    if let option = words.first(where: {
      $0.hasPrefix("buffer=") || $0.hasPrefix("flush=") || $0.hasPrefix("gzip")
    }) {
      findings.append(
        AuditFinding(
          "log-format", .note, at: at,
          "this access log is written in blocks (\(option))",
          leadsTo: "requests that reach the log long after their errors; compressed ones cannot be "
            + "followed at all",
          fix: .init(
            ([at.name]
              + words.filter { word in
                !["buffer=", "flush=", "gzip"].contains { word.hasPrefix($0) }
              }).joined(separator: " ") + ";",
            in: "in its place", tradeOff: "a write for each request")))
    }
    return findings
  }
}

extension AuditSubject {
  func directive(at location: String) -> Directive? {
    func find(_ block: [Directive]) -> Directive? {
      for directive in block {
        if directive.location == location { return directive }
        if let found = directive.block.flatMap(find) { return found }
      }
      return nil
    }
    return find(directives)
  }
}
