public import Evidence

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

  private var text = ""

  /// - Parameter now: when it is written.
  public static func render(_ series: [Series], now: Timestamp) -> String {
    var writer = Self()
    writer.write(series, now: now)
    return writer.text
  }

  private mutating func write(_ series: [Series], now: Timestamp) {
    family("up", "gauge", "Whether the port is up, with hysteresis.")
    for item in series where item.history.state != nil {
      sample("up", item, item.history.isDown ? "0" : "1")
    }
    family("connect_time_seconds", "summary", "SYN to SYN-ACK.")
    for item in series {
      guard let times = item.history.connectTimes else { continue }
      for (quantile, percentile) in [("0.5", 50.0), ("0.9", 90), ("0.99", 99)] {
        guard let value = times.percentile(percentile) else { continue }
        sample(
          "connect_time_seconds", item, CheckLine.seconds(value), [("quantile", quantile)])
      }
      if let mean = times.mean {
        let sum = TimeSpan(seconds: mean.seconds * Double(times.count))
        sample("connect_time_seconds_sum", item, CheckLine.seconds(sum))
      }
      sample("connect_time_seconds_count", item, "\(times.count)")
    }
    family("last_connect_time_seconds", "gauge", "SYN to SYN-ACK of the last check.")
    for item in series {
      guard let time = item.history.last?.connectTime else { continue }
      sample("last_connect_time_seconds", item, CheckLine.seconds(time))
    }
    family("checks_total", "counter", "Checks by outcome.")
    for item in series where item.history.checks > 0 {
      for outcome in PortCheck.Outcome.allCases {
        let count = item.history.count(of: outcome)
        sample("checks_total", item, "\(count)", [("outcome", outcome.rawValue)])
      }
    }
    writeOutages(series, now)
  }

  private mutating func writeOutages(_ series: [Series], _ now: Timestamp) {
    family("flaps_total", "counter", "Good checks that were followed by a bad one.")
    for item in series { sample("flaps_total", item, "\(item.history.flaps)") }
    family("outages_total", "counter", "Outages, with hysteresis.")
    for item in series { sample("outages_total", item, "\(item.history.outages)") }
    family("outage_seconds_total", "counter", "Time in outages.")
    for item in series {
      let current = item.history.currentOutage?.duration(at: now) ?? .zero
      sample(
        "outage_seconds_total", item, CheckLine.seconds(item.history.downtime + current))
    }
    family("last_check_timestamp_seconds", "gauge", "When the last check was answered.")
    for item in series {
      guard let time = item.history.lastTime else { continue }
      sample("last_check_timestamp_seconds", item, seconds(time))
    }
    text += "# HELP upclose_sweep_written_timestamp_seconds When this file was written.\n"
    text += "# TYPE upclose_sweep_written_timestamp_seconds gauge\n"
    text += "upclose_sweep_written_timestamp_seconds \(seconds(now))\n"
  }

  private func seconds(_ time: Timestamp) -> String {
    CheckLine.seconds(TimeSpan(nanoseconds: time.nanoseconds / 1_000_000 * 1_000_000))
  }

  private mutating func family(_ name: String, _ type: String, _ help: String) {
    text += "# HELP upclose_port_\(name) \(help)\n# TYPE upclose_port_\(name) \(type)\n"
  }

  private mutating func sample(
    _ name: String, _ item: Series, _ value: String, _ labels: [(String, String)] = []
  ) {
    var all = [("target", item.target)]
    if let name = item.name { all.append(("name", name)) }
    let list = (all + labels).map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
    text += "upclose_port_\(name){\(list)} \(value)\n"
  }

  /// Of a label's value: backslash, quote and line feed.
  private static func escaped(_ text: String) -> String {
    var escaped = ""
    for character in text {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.append(character)
      }
    }
    return escaped
  }
}
