import Evidence
import Glibc
import Report
import Sweep

/// A table of all targets at the bottom of a terminal, drawn anew after each round; news scroll by
/// above it.
struct SweepTable {
  private let output: Output
  private let style: TextStyle
  private var drawn = 0

  init(_ output: Output, _ style: TextStyle) {
    self.output = output
    self.style = style
  }

  mutating func draw(_ runner: SweepRunner) {
    clear()
    let (columns, rows) = size
    let lines = Self.lines(runner, rows: max(3, rows - 2))
    for line in lines { output.write(fit(line, columns) + "\n") }
    drawn = lines.count
    output.flush()
  }

  /// Takes the table away, so that text can be written in its place.
  mutating func clear() {
    guard drawn > 0 else { return }
    output.write("\u{1b}[\(drawn)A\u{1b}[J")
    drawn = 0
  }

  private var size: (columns: Int, rows: Int) {
    var size = winsize()
    guard ioctl(output.descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
      return (80, 24)
    }
    return (Int(size.ws_col), max(5, Int(size.ws_row)))
  }

  struct Line {
    var isDown: Bool?
    var text: String
  }

  /// The worst first: what does not fit is healthy.
  private static func lines(_ runner: SweepRunner, rows: Int) -> [Line] {
    let book = runner.book
    let ranked = book.indices.compactMap { index in
      book.history(index).map { (target: book[index], history: $0) }
    }.sorted { a, b in
      if a.history.isDown != b.history.isDown { return a.history.isDown }
      if a.history.flaps != b.history.flaps { return a.history.flaps > b.history.flaps }
      return a.target.endpoint < b.target.endpoint
    }
    let down = ranked.count { $0.history.isDown }
    let width = min(40, ranked.map { $0.target.label.count }.max() ?? 0)
    var lines = [
      Line(
        isDown: nil,
        text:
          "\(ranked.count - down) up, \(down) down after \(SweepText.count(runner.roundsDone, "round")); "
          + "the last took \(runner.lastRound) (Ctrl-C ends)"),
      Line(
        isDown: nil, text: row(["", "TARGET", "LAST", "P50", "P99", "GOOD", "FLAPS", ""], width)),
    ]
    for entry in ranked.prefix(rows - 3) {
      lines.append(Line(isDown: entry.history.isDown, text: row(cells(entry), width)))
    }
    if ranked.count > rows - 3 {
      lines.append(Line(isDown: nil, text: "and \(ranked.count - rows + 3) more"))
    }
    return lines
  }

  private static func cells(_ entry: (target: SweepTarget, history: TargetHistory)) -> [String] {
    let history = entry.history
    func text(_ span: TimeSpan?) -> String { span.map { "\($0)" } ?? "-" }
    let share = Double(history.goodChecks) / Double(max(1, history.checks)) * 100
    let tenths = Int((share * 10).rounded(.down))
    var note = ""
    if let outage = history.currentOutage {
      let length = outage.duration(at: history.lastTime ?? outage.start)
      note = "for \(length): \(outage.reason ?? "\(outage.outcome)")"
    }
    return [
      history.isDown ? "DOWN" : "UP", entry.target.label, text(history.last?.connectTime),
      text(history.connectTimes?.percentile(50)), text(history.connectTimes?.percentile(99)),
      "\(tenths / 10).\(tenths % 10) %", "\(history.flaps)", note,
    ]
  }

  private static func row(_ cells: [String], _ targetWidth: Int) -> String {
    let widths = [4, targetWidth, 8, 8, 8, 8, 5, 0]
    return zip(cells, widths).map { SweepText.pad($0, $1) }.joined(separator: "  ")
  }

  private func fit(_ line: Line, _ columns: Int) -> String {
    let cut = String(line.text.prefix(max(1, columns - 1)))
    guard style.isColored, let isDown = line.isDown else { return cut }
    return "\u{1b}[\(isDown ? 31 : 32)m\(cut.prefix(4))\u{1b}[0m\(cut.dropFirst(4))"
  }
}
