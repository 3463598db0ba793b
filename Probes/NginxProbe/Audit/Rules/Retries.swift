import Evidence

extension AuditRule {
  /// A request that may have had its effect is sent again.
  static let nonIdempotentRetries = AuditRule(
    id: "non-idempotent-retries",
    summary: "proxy_next_upstream non_idempotent sends a POST twice"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard site.nextUpstream.contains("non_idempotent"), let at = site.own("next_upstream") else {
        return nil
      }
      return AuditFinding(
        "non-idempotent-retries", .note, at: at,
        "a POST, LOCK or PATCH that failed after it was sent is sent again",
        leadsTo: "an order placed twice, when the backend had acted before its connection broke",
        fix: .init(
          "\(site.name("next_upstream")) error timeout;",
          in: "locations whose requests must not be "
            + "repeated", tradeOff: "each race with the backend's idle timeout is then a 502"))
    }
  }

  /// Where a race is possible, requests that nginx does not repeat are the ones that fail.
  static let racedPostsFail = AuditRule(
    id: "raced-posts-fail",
    summary: "a POST that meets a stale connection is not tried again"
  ) { subject in
    subject.reusingGroups.flatMap { group, _, sites -> [AuditFinding] in
      guard subject.canRace(group) else { return [] }
      return sites.compactMap { site -> AuditFinding? in
        let words = site.nextUpstream
        guard !words.contains("non_idempotent"), words.contains("error"), takesPosts(site) else {
          return nil
        }
        return AuditFinding(
          "raced-posts-fail", .note, at: site.pass,
          "a POST, LOCK or PATCH to \(group.name) is not repeated when its connection turns out to be "
            + "closed",
          leadsTo: "502 for POST alone, while GET shows nothing but `502, 200` in $upstream_status",
          fix: .init(
            "keepalive_timeout 4s;",
            in: "upstream \(group.name) (below the backend's idle timeout)",
            tradeOff:
              "more new connections at low load; `\(site.name("next_upstream")) error timeout "
              + "non_idempotent;` instead, only where the application takes a request twice"))
      }
    }
  }

  private static func takesPosts(_ site: PassSite) -> Bool {
    // limit_except GET { deny all; } around or beside the pass.
    !site.levels.joined().contains { directive in
      directive.name == "limit_except" && !directive.arguments.contains("POST")
        && (directive.block ?? []).contains { $0.name == "deny" && $0.arguments == ["all"] }
    }
  }

  /// `proxy_next_upstream` without `error`.
  static let nextUpstreamWithoutError = AuditRule(
    id: "next-upstream-without-error",
    summary: "without `error` in proxy_next_upstream every race is a 502"
  ) { subject in
    subject.reusingGroups.flatMap { group, _, sites -> [AuditFinding] in
      sites.compactMap { site -> AuditFinding? in
        guard !site.nextUpstream.contains("error"), let at = site.own("next_upstream") else {
          return nil
        }
        let words = site.nextUpstream.subtracting(["off"]).sorted().joined(separator: " ")
        return AuditFinding(
          "next-upstream-without-error", .warning, at: at,
          "`\(([at.name] + at.arguments).joined(separator: " "))` on kept connections to \(group.name)",
          leadsTo:
            "a 502 whenever a request meets a connection that the backend has closed, also for "
            + "GET; by default nginx repeats it unseen",
          fix: .init(
            "\(at.name) error\(words.isEmpty ? "" : " " + words);\n"
              + "\(site.name("next_upstream_tries")) 2;",
            in: "the location",
            tradeOff: "a request that fails by itself (a crash of the backend) reaches a second one"
          ))
      }
    }
  }

  /// A body that is passed on as it comes cannot be sent a second time.
  static let unbufferedRequests = AuditRule(
    id: "unbuffered-requests",
    summary: "proxy_request_buffering off keeps requests with a body from being retried"
  ) { subject in
    subject.reusingGroups.flatMap { group, _, sites -> [AuditFinding] in
      sites.compactMap { site -> AuditFinding? in
        guard let at = site.own("request_buffering"), at.arguments.first == "off" else {
          return nil
        }
        return AuditFinding(
          "unbuffered-requests", .warning, at: at,
          "requests with a body are passed to \(group.name) as they come, over kept connections",
          leadsTo: "no second try for any of them: a stale connection is a 502, PUT and DELETE too",
          fix: .init(
            "\(at.name) on;", in: "every location but those of large uploads",
            tradeOff: "nginx stores the body before the backend sees it (client_body_temp_path)"))
      }
    }
  }

  /// A large upload that the backend answers before it has read it.
  static let earlyAnswers = AuditRule(
    id: "early-answers",
    summary: "an early answer to an unbuffered upload may be lost"
  ) { subject in
    subject.sites.compactMap { site -> AuditFinding? in
      guard let at = site.own("request_buffering"), at.arguments.first == "off" else { return nil }
      return AuditFinding(
        "early-answers", .note, at: at,
        "uploads are passed on as they come, so nginx may still be writing when the backend has "
          + "answered (413, 401) and closed",
        leadsTo:
          "`writev() failed (104: Connection reset by peer) while sending request to upstream`: "
          + "a 502 instead of the backend's answer",
        fix: .init(
          "client_max_body_size 10m;",
          in: "the location: the backend's own limit, so that nginx "
            + "refuses first",
          tradeOff:
            "the limit is kept in two places; or let the backend read the rest before it closes"
        ))
    }
  }
}
