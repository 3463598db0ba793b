import Correlator
import Evidence

/// What is said of each upstream, row by row, so that a pair can be compared side by side.
struct UpstreamRows {
  struct Row {
    var name: String
    /// Belongs to the row above.
    var isDetail = false
    /// One for each upstream, in their order.
    var cells: [String]
  }

  /// Without the row of the names.
  static func rows(_ group: [UpstreamStatistics]) -> [Row] {
    func row(
      _ name: String, isDetail: Bool = false, _ cell: (UpstreamStatistics) -> String
    ) -> Row {
      Row(name: name, isDetail: isDetail, cells: group.map(cell))
    }
    var rows = [row("group", { $0.group ?? "-" }), row("errors", { "\($0.errors)" })]
    for cause in Set(group.flatMap(\.causes.keys)).sorted() {
      rows.append(row(cause, isDetail: true, { "\($0.causes[cause] ?? 0)" }))
    }
    rows += [
      row("connections ended", { "\($0.connectionsEnded)" }),
      row("idle, by backend", isDetail: true, { "\($0.idleCloses)" }),
      row("in an exchange", isDetail: true, { "\($0.abnormalCloses)" }),
      row("refused", isDetail: true, { "\($0.refused)" }),
      row("by nginx", isDetail: true, { "\($0.nginxCloses)" }),
      row(
        "closes when idle",
        { $0.idleTimeout.map { "\($0.value) (n=\($0.count))" } ?? "-" }),
      row("port open", { $0.checks == 0 ? "-" : "\($0.checksOpen)/\($0.checks)" }),
      row("process", { $0.processes.last ?? "none on this host" }),
    ]
    // Only where an access log was read.
    if group.contains(where: { $0.traffic != nil }) {
      rows += [
        row("tries / failed / hidden") {
          $0.traffic.map { "\($0.tries) / \($0.failures) / \($0.hidden)" } ?? "-"
        },
        row("response time p50, p99") {
          $0.traffic?.responseTime.map {
            "\(TimeSpan(seconds: $0.p50)), \(TimeSpan(seconds: $0.p99))"
          } ?? "-"
        },
      ]
    }
    return rows
  }
}
