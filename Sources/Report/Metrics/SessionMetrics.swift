public import Correlator
public import Evidence

/// A live session in Prometheus' text format. Names and units follow Prometheus' conventions: base
/// units, `_total` for what only grows.
public struct SessionMetrics {
  private var writer = MetricsWriter(prefix: "upclose_")

  /// - Parameters:
  ///   - started: when the session began.
  ///   - now: when it is written.
  ///   - version: as `0.1.0`.
  public static func render(
    _ summary: Summary, _ facts: SessionFacts, started: Timestamp, now: Timestamp, version: String
  ) -> String {
    var metrics = Self()
    metrics.session(summary, facts, started, now, version)
    metrics.errors(summary, facts)
    metrics.closes(facts)
    metrics.idle(summary, facts)
    metrics.ports(facts)
    metrics.traffic(facts)
    metrics.sources(summary)
    return metrics.writer.text
  }

  private mutating func session(
    _ summary: Summary, _ facts: SessionFacts, _ started: Timestamp, _ now: Timestamp,
    _ version: String
  ) {
    writer.family("build_info", .gauge, "Always 1; the version is its label.")
    writer.sample([("version", version)], "1")
    writer.family("session_start_timestamp_seconds", .gauge, "When the session began.")
    writer.sample(MetricsWriter.seconds(started))
    writer.family("written_timestamp_seconds", .gauge, "When this file was written.")
    writer.sample(MetricsWriter.seconds(now))
    writer.family("blind_spots", .gauge, "Things that this session cannot see.")
    writer.sample("\(summary.blindSpots.count)")
  }

  private mutating func errors(_ summary: Summary, _ facts: SessionFacts) {
    writer.family(
      "upstream_errors_total", .counter, "Upstream errors that nginx logged, at once.")
    for upstream in names(summary, facts) {
      writer.sample([("upstream", upstream)], "\(facts.errorCounts[upstream] ?? 0)")
    }
    writer.family(
      "incidents_total", .counter,
      "Upstream errors by cause, once the verdict is settled (20 s after the error).")
    var keys = Set(facts.incidents.causes.keys)
    // A counter that appears with 1 has no increase: what alerts look for is there from the start.
    for upstream in names(summary, facts) {
      for cause in [CauseID.oomKill, .crash, .staleKeepalive] {
        keys.insert(IncidentCounts.Key(upstream: upstream, cause: cause))
      }
    }
    for key in keys.sorted() {
      writer.sample(
        [("upstream", key.upstream), ("cause", key.cause.rawValue)],
        "\(facts.incidents.causes[key] ?? 0)")
    }
    writer.family(
      "incident_matches_total", .counter, "How settled incidents were joined to a close.")
    for match in IncidentCounts.Match.allCases {
      writer.sample([("outcome", match.rawValue)], "\(facts.incidents.matches[match] ?? 0)")
    }
    writer.family(
      "unexplained_closes_total", .counter,
      "Closes by a backend in an exchange that no error explains.")
    writer.sample("\(summary.books.unexplainedCloses)")
    writer.family("oom_kills_total", .counter, "OOM kills in the kernel's log.")
    writer.sample("\(facts.oomKills)")
  }

  /// The upstreams that are watched, and those that had errors.
  private func names(_ summary: Summary, _ facts: SessionFacts) -> [String] {
    Set(summary.upstreams.prefix(256).map(\.upstream)).union(facts.errorCounts.keys).sorted()
  }

  private mutating func closes(_ facts: SessionFacts) {
    writer.family(
      "upstream_closes_total", .counter,
      "Ended connections by who closed (originator: nginx, responder: the backend) and how.")
    for (upstream, counts) in facts.closeCounts.sorted(by: { $0.key < $1.key }) {
      let sorted = counts.map { ($0.key.closer.rawValue, $0.key.manner?.rawValue ?? "", $0.value) }
        .sorted { ($0.0, $0.1) < ($1.0, $1.1) }
      for (closer, manner, count) in sorted {
        writer.sample(
          [("upstream", upstream.description), ("closer", closer), ("manner", manner)], "\(count)")
      }
    }
  }

  private mutating func idle(_ summary: Summary, _ facts: SessionFacts) {
    let measured = summary.upstreams.filter { $0.idleTimeout != nil }
    writer.family(
      "upstream_idle_timeout_seconds", .gauge,
      "Idle time after which the backend closes, as measured.")
    for upstream in measured {
      guard let timeout = upstream.idleTimeout else { continue }
      writer.sample([("upstream", upstream.upstream)], MetricsWriter.seconds(timeout.value))
    }
    writer.family(
      "upstream_idle_timeout_closes", .gauge, "Closes from which that was measured.")
    for upstream in measured {
      guard let timeout = upstream.idleTimeout else { continue }
      writer.sample([("upstream", upstream.upstream)], "\(timeout.count)")
    }
    writer.family(
      "upstream_keepalive_timeout_seconds", .gauge,
      "How long nginx keeps an idle connection, as configured.")
    for upstream in summary.upstreams {
      guard let endpoint = Endpoint(upstream.upstream),
        let kept = facts.keepaliveTimeout(of: endpoint)
      else { continue }
      writer.sample([("upstream", upstream.upstream)], MetricsWriter.seconds(kept))
    }
  }

  private mutating func ports(_ facts: SessionFacts) {
    let states = facts.portStates.sorted { $0.key < $1.key }
    writer.family("upstream_port_open", .gauge, "Whether the last connect to it succeeded.")
    for (target, state) in states {
      writer.sample([("upstream", target.description)], state.last == .open ? "1" : "0")
    }
    writer.family("upstream_port_checks_total", .counter, "Connects to it by outcome.")
    for (target, state) in states {
      for outcome in PortCheck.Outcome.allCases {
        writer.sample(
          [("upstream", target.description), ("outcome", outcome.rawValue)],
          "\(state.counts[outcome] ?? 0)")
      }
    }
    writer.family("upstream_port_connect_time_seconds", .summary, "SYN to SYN-ACK.")
    for (target, state) in states where state.connects > 0 {
      let labels = [("upstream", target.description)]
      writer.sample(labels, suffix: "_sum", MetricsWriter.seconds(state.connectTime))
      writer.sample(labels, suffix: "_count", "\(state.connects)")
    }
  }

  private mutating func traffic(_ facts: SessionFacts) {
    let all = facts.traffic.values.sorted { $0.upstream.description < $1.upstream.description }
    let families: [(String, String, (UpstreamTraffic) -> UInt64)] = [
      ("upstream_tries_total", "Tries in the access log.", \.tries),
      ("upstream_failed_tries_total", "Of them with the status 502 or 504.", \.failures),
      (
        "upstream_hidden_failures_total", "Failed tries behind which another one succeeded.",
        \.hidden
      ),
    ]
    for (name, help, value) in families {
      writer.family(name, .counter, help)
      for traffic in all {
        writer.sample([("upstream", traffic.upstream.description)], "\(value(traffic))")
      }
    }
  }

  private mutating func sources(_ summary: Summary) {
    let packets = summary.books.sources.first { $0.source == "packets" }
    writer.family("capture_packets_total", .counter, "Packets that were captured.")
    writer.sample("\(packets?.seen ?? 0)")
    writer.family(
      "capture_dropped_packets_total", .counter, "Packets that the kernel dropped for lack of room."
    )
    writer.sample("\(packets?.lost ?? 0)")
    writer.family("source_records_total", .counter, "Records of each source that were looked at.")
    for source in summary.books.sources {
      writer.sample([("source", source.source)], "\(source.seen)")
    }
    writer.family("source_lost_records_total", .counter, "Records that were lost before that.")
    for source in summary.books.sources {
      writer.sample([("source", source.source)], "\(source.lost)")
    }
  }
}
