public import Correlator
import Evidence

/// A session as Markdown for a ticket: one screen. What is left out is said with its number.
public struct MarkdownReport: Sendable {
  private let utcOffset: Int
  private static let findings = 6
  private static let upstreams = 4
  private static let blindSpots = 4

  /// - Parameter utcOffset: seconds east of UTC, in which times are shown.
  public init(utcOffset: Int = 0) { self.utcOffset = utcOffset }

  public func render(_ summary: Summary) -> String {
    let headline = Headline(summary)
    var lines = ["## \(Self.escaped(headline.sentence))", ""]
    if let detail = headline.detail { lines += [Self.escaped(shortened(detail, 300)), ""] }
    if let fix = headline.fix { lines += [Self.fix(fix), ""] }
    if !headline.ruledOut.isEmpty {
      lines += ["Ruled out: \(Self.escaped(headline.ruledOut.joined(separator: "; "))).", ""]
    }
    lines += findings(summary.findings)
    lines += upstreams(summary.upstreams, summary.books)
    lines += example(summary)
    lines += books(summary)
    return lines.joined(separator: "\n") + "\n"
  }

  private static func fix(_ fix: Fix) -> String {
    var text = "**Fix:** "
    if let line = fix.line {
      text += code(line)
      if let place = fix.place { text += " in \(code(place))" }
      text += ": "
    }
    text += escaped(fix.text) + "."
    if let cost = fix.tradeOff { text += " Costs: \(escaped(cost))." }
    return text
  }

  private func findings(_ findings: [Finding]) -> [String] {
    // The first one has been said in full.
    guard findings.count > 1 else { return [] }
    var lines = ["| errors | upstream | cause | what to change |", "|--:|---|---|---|"]
    for finding in findings.prefix(Self.findings) {
      let change =
        finding.fix?.line.map(Self.code) ?? finding.fix.map { Self.cell($0.text, 90) } ?? "-"
      lines.append(
        "| \(finding.errors) of \(finding.ofErrors) | \(Self.code(finding.upstream)) "
          + "| \(Self.escaped(finding.cause.title)) | \(change) |")
    }
    let rest = findings.count - Self.findings
    if rest > 0 { lines.append("| | \(rest) more findings | | |") }
    return lines + [""]
  }

  private func upstreams(_ all: [UpstreamStatistics], _ books: Books) -> [String] {
    guard !all.isEmpty else { return [] }
    let shown = Array(
      all.sorted { ($1.errors, $0.upstream) < ($0.errors, $1.upstream) }.prefix(Self.upstreams)
    ).sorted { $0.upstream < $1.upstream }
    var lines = [
      "| | " + shown.map { Self.code($0.upstream) }.joined(separator: " | ") + " |",
      "|---|" + shown.map { _ in "---|" }.joined(),
    ]
    // The causes are in the findings, and a ticket has one screen.
    let rows = UpstreamRows.rows(shown, books).filter { row in
      row.name != "group" && !shown.contains { $0.causes[row.name] != nil }
    }
    for row in rows {
      let cells = row.cells.map { Self.cell($0, 60) }.joined(separator: " | ")
      lines.append("| \(row.isDetail ? "… " : "")\(row.name) | \(cells) |")
    }
    if all.count > shown.count {
      lines += ["", "\(all.count - shown.count) more upstreams, of fewer errors."]
    }
    return lines + [""]
  }

  /// The likeliest of the first finding's incidents.
  private func example(_ summary: Summary) -> [String] {
    guard let top = summary.findings.first,
      let incident = summary.incidents.lazy.filter({
        $0.upstream == top.upstream && $0.verdict.cause == top.cause
      }).max(by: { $0.verdict.probability < $1.verdict.probability })
    else { return [] }
    let time = incident.time.best.iso8601(offset: utcOffset)
    var text = "Example, \(time): \(Self.code(shortened(incident.message, 160)))"
    if let request = incident.request {
      text += ", request \(Self.code(shortened(request, 100)))"
    }
    if let close = incident.close {
      let words = CloseWords.sentence(
        closer: close.closer, manner: close.manner, phase: close.phase,
        idleBeforeClose: close.idleBeforeClose)
      text += ". \(Self.escaped(words)) (\(Self.code(close.history)))"
    }
    if let evidence = incident.evidence.first {
      text += ". \(Self.escaped(shortened(evidence.text, 200)))"
    }
    return [text + ". \(percent(incident.verdict.probability)) sure.", ""]
  }

  private func books(_ summary: Summary) -> [String] {
    var text = "Books: \(Self.escaped(BookWords.errors(summary.books)))"
    if let closes = BookWords.unexplained(summary.books) { text += "; \(Self.escaped(closes))" }
    let lost = summary.books.sources.filter { $0.lost > 0 }
    text +=
      lost.isEmpty
      ? "; nothing was lost."
      : "; lost: \(Self.escaped(lost.map { "\($0.source) \($0.lost)" }.joined(separator: ", ")))."
    var lines = [text]
    let spots = summary.blindSpots
    if !spots.isEmpty {
      var words = spots.prefix(Self.blindSpots).map { "\($0.what): \($0.cost)" }
      if spots.count > words.count { words.append("\(spots.count - words.count) more") }
      lines.append(Self.escaped("Blind spots: " + words.joined(separator: "; ") + "."))
    }
    if let span = summary.span(utcOffset: utcOffset) {
      lines.append("Session: \(span), by upclose.")
    }
    return lines.flatMap { [$0, ""] }.dropLast()
  }

  // MARK: Text from outside

  private static func cell(_ text: String, _ most: Int) -> String { escaped(shortened(text, most)) }

  /// Every character that means something in Markdown or HTML, and so cannot become markup, a link, a
  /// mention or a cell's end (CommonMark 0.31, 2.4 and 2.5).
  static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "\\", "`", "*", "_", "[", "]", "|", "#", "~", "!", "@":
        result += "\\\(character)"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "\n", "\r", "\r\n": result += " "
      default: result.append(character)
      }
    }
    return result
  }

  /// As code, with a fence longer than any run of backticks within. A bar would end a table's cell
  /// even there (GFM, 4.10), so it is escaped; other readers show the backslash.
  static func code(_ text: String) -> String {
    var longest = 0
    var run = 0
    var inner = ""
    for character in text {
      run = character == "`" ? run + 1 : 0
      longest = max(longest, run)
      switch character {
      case "|": inner += "\\|"
      case "\n", "\r", "\r\n": inner += " "
      default: inner.append(character)
      }
    }
    let fence = String(repeating: "`", count: longest + 1)
    let space = inner.hasPrefix("`") || inner.hasSuffix("`") ? " " : ""
    return fence + space + inner + space + fence
  }
}
