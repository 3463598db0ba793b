public import Evidence
import Report

/// The state of all targets in Prometheus' text format, for node_exporter's textfile collector.
/// Names and units follow Prometheus' conventions: base units, `_total` for counters.
public struct PrometheusText {
  /// One target's series.
  public struct Series {
    public var target: String
    /// The name it was given by, where that is another.
    public var name: String?
    public var history: TargetHistory
    public init(target: String, name: String?, history: TargetHistory) {
      self.target = target
      self.name = name
      self.history = history
    }
  }

  private var writer = MetricsWriter(prefix: "upclose_port_")

  /// - Parameter now: when it is written.
  public static func render(_ series: [Series], now: Timestamp) -> String {
    var writer = Self()
    writer.write(series, now: now)
    return writer.writer.text + written(now)
  }

  private mutating func write(_ series: [Series], now: Timestamp) {
    family("up", .gauge, "Whether the port is up, with hysteresis.")
    for item in series where item.history.state != nil {
      sample(item, item.history.isDown ? "0" : "1")
    }
    family("connect_time_seconds", .summary, "SYN to SYN-ACK.")
    for item in series {
      guard let times = item.history.connectTimes else { continue }
      for (quantile, percentile) in [("0.5", 50.0), ("0.9", 90), ("0.99", 99)] {
        guard let value = times.percentile(percentile) else { continue }
        sample(
          item, CheckLine.seconds(value), [("quantile", quantile)])
      }
      if let mean = times.mean {
        let sum = TimeSpan(seconds: mean.seconds * Double(times.count))
        sample(item, suffix: "_sum", CheckLine.seconds(sum))
      }
      sample(item, suffix: "_count", "\(times.count)")
    }
    family("last_connect_time_seconds", .gauge, "SYN to SYN-ACK of the last check.")
    for item in series {
      guard let time = item.history.last?.connectTime else { continue }
      sample(item, CheckLine.seconds(time))
    }
    family("checks_total", .counter, "Checks by outcome.")
    for item in series where item.history.checks > 0 {
      for outcome in PortCheck.Outcome.allCases {
        let count = item.history.count(of: outcome)
        sample(item, "\(count)", [("outcome", outcome.rawValue)])
      }
    }
    writeOutages(series, now)
  }

  private mutating func writeOutages(_ series: [Series], _ now: Timestamp) {
    family("flaps_total", .counter, "Good checks that were followed by a bad one.")
    for item in series { sample(item, "\(item.history.flaps)") }
    family("outages_total", .counter, "Outages, with hysteresis.")
    for item in series { sample(item, "\(item.history.outages)") }
    family("outage_seconds_total", .counter, "Time in outages.")
    for item in series {
      let current = item.history.currentOutage?.duration(at: now) ?? .zero
      sample(
        item, CheckLine.seconds(item.history.downtime + current))
    }
    family("last_check_timestamp_seconds", .gauge, "When the last check was answered.")
    for item in series {
      guard let time = item.history.lastTime else { continue }
      sample(item, MetricsWriter.seconds(time))
    }
  }

  private static func written(_ now: Timestamp) -> String {
    var writer = MetricsWriter(prefix: "upclose_sweep_")
    writer.family("written_timestamp_seconds", .gauge, "When this file was written.")
    writer.sample(MetricsWriter.seconds(now))
    return writer.text
  }

  private mutating func family(_ name: String, _ kind: MetricsWriter.Kind, _ help: String) {
    writer.family(name, kind, help)
  }

  private mutating func sample(
    _ item: Series, suffix: String = "", _ value: String, _ labels: [(String, String)] = []
  ) {
    var all = [("target", item.target)]
    if let name = item.name { all.append(("name", name)) }
    writer.sample(all + labels, suffix: suffix, value)
  }
}
