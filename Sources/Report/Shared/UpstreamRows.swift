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

  /// Without the row of the names. What was not watched is not said to be zero.
  /// - Parameter books: of the same session.
  static func rows(_ group: [UpstreamStatistics], _ books: Books) -> [Row] {
    let watched = Set(books.sources.map(\.source))
    func row(
      _ name: String, _ isDetail: Bool, _ cell: (UpstreamStatistics) -> String
    ) -> Row {
      Row(name: name, isDetail: isDetail, cells: group.map(cell))
    }
    var rows = [row("group", false, { $0.group ?? "-" }), row("errors", false, { "\($0.errors)" })]
    for cause in Set(group.flatMap(\.causes.keys)).sorted() {
      rows.append(row(cause, true, { "\($0.causes[cause] ?? 0)" }))
    }
    rows += watched.contains("packets") ? connections(group, row) : []
    let nobody = watched.contains("processes") ? "none on this host" : "not watched"
    rows += [
      row("port open", false, { $0.checks == 0 ? "-" : "\($0.checksOpen)/\($0.checks)" }),
      row("process", false, { $0.processes.last ?? nobody }),
    ]
    // Only where an access log was read.
    if group.contains(where: { $0.traffic != nil }) {
      rows += [
        row("tries / failed / hidden", false) {
          $0.traffic.map { "\($0.tries) / \($0.failures) / \($0.hidden)" } ?? "-"
        },
        row("response time p50, p99", false) {
          $0.traffic?.responseTime.map {
            "\(TimeSpan(seconds: $0.p50)), \(TimeSpan(seconds: $0.p99))"
          } ?? "-"
        },
      ]
    }
    return rows
  }

  private static func connections(
    _ group: [UpstreamStatistics],
    _ row: (String, Bool, (UpstreamStatistics) -> String) -> Row
  ) -> [Row] {
    [
      row("connections ended", false, { "\($0.connectionsEnded)" }),
      row("idle, by backend", true, { "\($0.idleCloses)" }),
      row("in an exchange", true, { "\($0.abnormalCloses)" }),
      row("refused", true, { "\($0.refused)" }),
      row("by nginx", true, { "\($0.nginxCloses)" }),
      row(
        "closes when idle", false,
        { $0.idleTimeout.map { "\($0.value) (n=\($0.count))" } ?? "-" }),
    ]
  }
}
