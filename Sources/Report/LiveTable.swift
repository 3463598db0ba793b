public import Correlator
import Evidence

/// The upstreams side by side, in few lines: what stands at the bottom of the terminal while a session
/// runs. Plain text.
public enum LiveTable {
  private static let label = 19

  /// - Parameters:
  ///   - facts: of the same session.
  ///   - columns: no line is longer.
  /// - Returns: no line when there is no upstream.
  public static func lines(_ summary: Summary, _ facts: SessionFacts, columns: Int) -> [String] {
    let all = summary.upstreams
    guard !all.isEmpty else { return [] }
    let widest = all.map(\.upstream.count).max() ?? 0
    // A few share the room, so that a cause's name is whole; many are narrow.
    let share = (columns - label) / all.count
    let column = min(max(20, widest + 2, min(share, 32)), max(20, columns - label))
    let most = max(1, (columns - label) / column)
    let shown = Array(
      all.sorted { ($1.errors, $0.upstream) < ($0.errors, $1.upstream) }.prefix(most)
    ).sorted { $0.upstream < $1.upstream }
    func row(_ name: String, _ cell: (UpstreamStatistics) -> String) -> String {
      var line = padded(name, label)
      for upstream in shown { line += padded(String(cell(upstream).prefix(column - 1)), column) }
      while line.last == " " { line.removeLast() }
      return line
    }
    var lines = [
      String(repeating: "-", count: min(columns, label + shown.count * column)),
      row("upstream", \.upstream), row("errors", { "\($0.errors)" }),
      row("  most of them", mostFrequent),
      row("closes idle/broken", { "\($0.idleCloses) / \($0.abnormalCloses + $0.refused)" }),
      row("closes when idle", { $0.idleTimeout.map { "\($0.value) (n=\($0.count))" } ?? "-" }),
      row("port", { port($0, facts) }),
    ]
    if all.count > shown.count {
      let rest = all.count - shown.count
      let errors =
        all.reduce(0) { $0 + $1.errors } - shown.reduce(0) { $0 + $1.errors }
      lines.append("\(rest) more upstream\(rest == 1 ? "" : "s"), \(errors) errors")
    }
    return lines
  }

  private static func mostFrequent(_ upstream: UpstreamStatistics) -> String {
    upstream.causes.max { ($0.value, $1.key) < ($1.value, $0.key) }.map {
      "\($0.value) \($0.key)"
    } ?? "-"
  }

  private static func port(_ upstream: UpstreamStatistics, _ facts: SessionFacts) -> String {
    guard let endpoint = Endpoint(upstream.upstream), let state = facts.portStates[endpoint],
      let last = state.last
    else { return "-" }
    let time = state.lastConnectTime.map { " \($0)" } ?? ""
    return last.rawValue + (last == .open ? time : "")
  }
}
