public import Correlator
import Evidence

/// JSON forms of what the correlator says. Fields are added, never renamed.
public struct JSONReport: Sendable {
  /// Seconds east of UTC, in which times are shown.
  public var utcOffset: Int

  public init(utcOffset: Int = 0) { self.utcOffset = utcOffset }

  public func incident(_ incident: Incident) -> JSONValue {
    .object([
      ("id", .integer(Int64(incident.id))),
      ("revision", .integer(Int64(incident.revision))),
      ("time", time(incident.time.best)),
      ("time_earliest", time(incident.time.earliest)),
      ("time_latest", time(incident.time.latest)),
      ("message", .string(incident.message)),
      ("kind", .string(incident.kind.rawValue)),
      ("worker", .integer(Int64(incident.worker))),
      ("nginx_connection", .optional(incident.nginxConnection)),
      ("upstream", .optional(incident.upstream)),
      ("request", .optional(incident.request)),
      ("client_status", .optional(incident.clientStatus)),
      ("retried", .optional(incident.retried)),
      ("aftermath", incident.aftermath.map(aftermath) ?? .null),
      ("close", incident.close.map(close) ?? .null),
      (
        "match",
        .object([
          ("confidence", .number(incident.match.confidence)),
          ("candidates", .integer(Int64(incident.match.candidates))),
          ("unmatched_because", .optional(incident.match.unmatchedBecause)),
        ])
      ),
      ("verdict", verdict(incident.verdict)),
      ("evidence", .array(incident.evidence.map(evidence))),
      ("ruled_out", .array(incident.ruledOut.map { .string($0) })),
      ("fix", incident.fix.map(fix) ?? .null),
      ("roots", .array(incident.roots.map { .integer(Int64($0)) })),
      ("retry_safety", Self.retrySafety(incident.retrySafety)),
      ("led_to", .array(incident.ledTo.map { .integer(Int64($0)) })),
      ("led_to_count", .integer(Int64(incident.ledToCount))),
    ])
  }

  public func summary(_ summary: Summary) -> JSONValue {
    .object([
      ("started", summary.started.map(time) ?? .null),
      ("ended", summary.ended.map(time) ?? .null),
      ("incidents", .array(summary.incidents.map(incident))),
      ("findings", .array(summary.findings.map(finding))),
      ("upstreams", .array(summary.upstreams.map(upstream))),
      ("comparisons", .array(summary.comparisons.map(Self.comparison))),
      ("what_if", .array(summary.whatIf.map { Self.whatIf($0) })),
      ("books", books(summary.books)),
      (
        "blind_spots",
        .array(
          summary.blindSpots.map {
            .object([
              ("id", .string($0.id)), ("what", .string($0.what)), ("cost", .string($0.cost)),
              ("remedy", .optional($0.remedy)),
            ])
          })
      ),
    ])
  }

  private func time(_ time: Timestamp) -> JSONValue {
    .string(time.iso8601(offset: utcOffset, digits: 6))
  }

  private func close(_ close: Incident.Close) -> JSONValue {
    .object([
      (
        "flow",
        .object([
          ("originator", .string(close.flow.originator.description)),
          ("responder", .string(close.flow.responder.description)),
        ])
      ),
      ("closer", .string(close.closer.rawValue)),
      ("manner", .optional(close.manner?.rawValue)),
      ("phase", close.phase == .unknown ? .null : .string(close.phase.rawValue)),
      ("time", close.time.map(time) ?? .null),
      ("conn_state", .string(close.connState.rawValue)),
      ("history", .string(close.history)),
      ("request_delivery", .string(close.requestDelivery.rawValue)),
      ("idle_before_close", close.idleBeforeClose.map { .number($0.seconds) } ?? .null),
      ("exchanges", .optional(close.exchanges)),
      ("request_age", seconds(close.requestAge)),
      (
        "owner",
        close.owner.map { owner in
          .object([
            ("pid", .integer(Int64(owner.pid))), ("command", .string(owner.command)),
            ("cgroup", .optional(owner.cgroup)),
          ])
        } ?? .null
      ),
    ])
  }

  private func verdict(_ verdict: Verdict) -> JSONValue {
    .object([
      ("cause", .string(verdict.cause.rawValue)),
      ("probability", .number(verdict.probability)),
      (
        "rivals",
        .array(
          verdict.rivals.map {
            .object([
              ("cause", .string($0.cause.rawValue)), ("probability", .number($0.probability)),
            ])
          })
      ),
    ])
  }

  private func evidence(_ item: EvidenceItem) -> JSONValue {
    .object([
      ("source", .string(item.source)), ("text", .string(item.text)),
      ("decibans", .number(item.decibans)), ("time", item.time.map(time) ?? .null),
    ])
  }

  private func aftermath(_ aftermath: Aftermath) -> JSONValue {
    .object([
      ("tries", .array(aftermath.tries.map(attempt))),
      ("not_retried_because", .optional(aftermath.notRetriedBecause)),
      ("cut", .optional(aftermath.isCut)),
      ("duration", seconds(aftermath.duration)),
      ("peer_disabled_until", aftermath.disabled.map { time($0.until) } ?? .null),
      ("peer_disabled_in_worker", .optional(aftermath.disabled.flatMap(\.worker))),
    ])
  }

  private func attempt(_ attempt: UpstreamTry) -> JSONValue {
    .object([
      ("upstream", .optional(attempt.peer.map(String.init))),
      ("status", .optional(attempt.status)),
      ("connect_time", seconds(attempt.connectTime)),
      ("header_time", seconds(attempt.headerTime)),
      ("response_time", seconds(attempt.responseTime)),
      ("bytes_sent", .optional(attempt.bytesSent)),
      ("bytes_received", .optional(attempt.bytesReceived)),
      ("follows_redirect", .bool(attempt.followsRedirect)),
    ])
  }

  private func seconds(_ span: TimeSpan?) -> JSONValue { span.map { .number($0.seconds) } ?? .null }

  private func traffic(_ traffic: UpstreamTraffic) -> JSONValue {
    .object([
      ("tries", .unsigned(traffic.tries)), ("failures", .unsigned(traffic.failures)),
      ("hidden", .unsigned(traffic.hidden)),
      ("connect_time", quantiles(traffic.connectTime)),
      ("header_time", quantiles(traffic.headerTime)),
      ("response_time", quantiles(traffic.responseTime)),
      ("request_bytes_succeeded", quantiles(traffic.succeededRequestBytes)),
      ("request_bytes_failed", quantiles(traffic.failedRequestBytes)),
    ])
  }

  private func quantiles(_ quantiles: Quantiles?) -> JSONValue {
    guard let quantiles else { return .null }
    return .object([
      ("count", .unsigned(quantiles.count)), ("p50", .number(quantiles.p50)),
      ("p95", .number(quantiles.p95)), ("p99", .number(quantiles.p99)),
      ("max", .number(quantiles.largest)),
    ])
  }

  private func fix(_ fix: Fix) -> JSONValue {
    .object([
      ("directive", .optional(fix.directive)), ("value", .optional(fix.value)),
      ("place", .optional(fix.place)), ("text", .string(fix.text)),
      ("trade_off", .optional(fix.tradeOff)),
    ])
  }

  private func finding(_ finding: Finding) -> JSONValue {
    .object(
      [
        ("upstream", .string(finding.upstream)), ("cause", .string(finding.cause.rawValue)),
        ("errors", .integer(Int64(finding.errors))),
        ("of_errors", .integer(Int64(finding.ofErrors))),
        ("first", time(finding.first)), ("last", time(finding.last)),
        ("text", .string(finding.text)), ("fix", finding.fix.map(fix) ?? .null),
        ("idle_timeout", Self.estimate(finding.idleTimeout)),
      ] + Self.measured(finding))
  }

  private func upstream(_ upstream: UpstreamStatistics) -> JSONValue {
    .object(
      [
        ("upstream", .string(upstream.upstream)), ("group", .optional(upstream.group)),
        ("errors", .integer(Int64(upstream.errors))),
        (
          "causes",
          .object(
            upstream.causes.sorted { $0.key < $1.key }.map { ($0.key, .integer(Int64($0.value))) })
        ),
        ("connections_ended", .integer(Int64(upstream.connectionsEnded))),
        ("refused", .integer(Int64(upstream.refused))),
        ("idle_closes", .integer(Int64(upstream.idleCloses))),
        ("abnormal_closes", .integer(Int64(upstream.abnormalCloses))),
        ("unexplained_closes", .integer(Int64(upstream.unexplainedCloses))),
        ("resets", .integer(Int64(upstream.resets))),
        ("nginx_closes", .integer(Int64(upstream.nginxCloses))),
        ("checks", .integer(Int64(upstream.checks))),
        ("checks_open", .integer(Int64(upstream.checksOpen))),
        ("idle_timeout", Self.estimate(upstream.idleTimeout)),
        ("processes", .array(upstream.processes.map { .string($0) })),
        ("traffic", upstream.traffic.map(traffic) ?? .null),
      ] + Self.measured(upstream))
  }

  private func books(_ books: Books) -> JSONValue {
    .object([
      ("errors", .integer(Int64(books.errors))), ("matched", .integer(Int64(books.matched))),
      ("ambiguous", .integer(Int64(books.ambiguous))),
      ("unmatched", .integer(Int64(books.unmatched))),
      (
        "unmatched_because",
        .object(
          books.unmatchedBecause.sorted { $0.key < $1.key }.map {
            ($0.key, .integer(Int64($0.value)))
          })
      ),
      ("unexplained_closes", .integer(Int64(books.unexplainedCloses))),
      ("incidents_dropped", .integer(Int64(books.incidentsDropped))),
      (
        "sources",
        .array(
          books.sources.map { source in
            .object([
              ("source", .string(source.source)), ("seen", .unsigned(source.seen)),
              ("lost", .unsigned(source.lost)),
              (
                "details",
                .object(
                  source.details.sorted { $0.key < $1.key }.map { ($0.key, .unsigned($0.value)) })
              ),
            ])
          })
      ),
    ])
  }
}
