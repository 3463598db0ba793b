public import Correlator
import Evidence

/// The end of a session as text: findings first, then the pair side by side, the books, and what was
/// not seen.
public struct SummaryText: Sendable {
  private let style: TextStyle
  private let isVerbose: Bool

  /// - Parameter isVerbose: with the details of the books.
  public init(_ style: TextStyle, isVerbose: Bool = false) {
    self.style = style
    self.isVerbose = isVerbose
  }

  public func render(_ summary: Summary) -> String {
    [
      findings(summary), tried(summary.whatIf), upstreams(summary.upstreams, summary.books),
      differences(summary.comparisons), books(summary),
      blindSpots(summary.blindSpots),
    ].filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
  }

  private func findings(_ summary: Summary) -> String {
    guard !summary.findings.isEmpty else {
      return style.bold("Findings") + "\n  "
        + (summary.books.errors == 0
          ? "no upstream error was logged" : "none")
    }
    var lines = [style.bold("Findings")]
    for (index, finding) in summary.findings.enumerated() {
      let count =
        finding.errors == 0
        ? "no error by it yet" : "\(finding.errors) of \(finding.ofErrors) errors"
      lines.append(
        "\(index + 1). \(finding.upstream): \(style.bold(finding.cause.rawValue)), \(count)")
      lines.append(wrapped("\(finding.text)", indent: "   "))
      for note in finding.notes { lines.append(wrapped(note, indent: "   ")) }
      guard let fix = finding.fix else { continue }
      if let directive = fix.directive {
        let value = fix.value.map { " \($0);" } ?? ""
        let place = fix.place.map { " in \($0)" } ?? ""
        lines.append(wrapped("-> \(directive)\(value)\(place)", indent: "   "))
      }
      lines.append(wrapped((fix.directive == nil ? "-> " : "") + fix.text, indent: "   "))
      if let result = finding.whatIf {
        lines.append(wrapped(FindingWords.effect(result), indent: "   "))
      }
      if let cost = fix.tradeOff { lines.append(wrapped("costs: \(cost)", indent: "   ")) }
    }
    return lines.joined(separator: "\n")
  }

  private func tried(_ results: [WhatIf]) -> String {
    guard !results.isEmpty else { return "" }
    let lines = results.map { wrapped(FindingWords.tried($0), indent: "  ") }
    return ([style.bold("What if")] + lines).joined(separator: "\n")
  }

  /// Only what is no chance, unless all is asked for.
  private func differences(_ all: [Comparison]) -> String {
    let shown = all.filter { $0.more != nil || isVerbose }
    guard !shown.isEmpty else { return "" }
    var lines = [style.bold("Differences")]
    var pair: (String, String)?
    for comparison in shown {
      if pair.map({ $0 != (comparison.a, comparison.b) }) ?? true {
        lines.append("  \(comparison.a) against \(comparison.b)")
        pair = (comparison.a, comparison.b)
      }
      lines.append(wrapped(FindingWords.difference(comparison), indent: "    "))
    }
    return lines.joined(separator: "\n")
  }

  /// A column an upstream, as many beside each other as fit.
  private func upstreams(_ all: [UpstreamStatistics], _ books: Books) -> String {
    guard !all.isEmpty else { return "" }
    let label = 28
    // A long address or process name makes its columns wider rather than run into the next one.
    let long = all.flatMap { [$0.upstream, $0.group ?? "-", $0.processes.last ?? "-"] }
    let column = max(24, (long.map(\.count).max() ?? 0) + 1)
    let perTable = max(1, ((style.width ?? 100) - label) / column)
    var tables: [String] = []
    for start in stride(from: 0, to: all.count, by: perTable) {
      let group = Array(all[start..<min(start + perTable, all.count)])
      tables.append(table(group, books, label: label, column: column))
    }
    return style.bold("Upstreams") + "\n" + tables.joined(separator: "\n\n")
  }

  private func table(
    _ group: [UpstreamStatistics], _ books: Books, label: Int, column: Int
  ) -> String {
    func line(_ name: String, _ cells: [String]) -> String {
      var line = "  " + padded(name, label - 2)
      for cell in cells { line += padded(cell, column) }
      while line.last == " " { line.removeLast() }
      return line
    }
    let rows = UpstreamRows.rows(group, books).map {
      line(($0.isDetail ? "  " : "") + $0.name, $0.cells)
    }
    return ([line("", group.map(\.upstream))] + rows).joined(separator: "\n")
  }

  private func books(_ summary: Summary) -> String {
    let books = summary.books
    var lines = [style.bold("Books")]
    lines.append(wrapped(BookWords.errors(books), indent: "  "))
    if let closes = BookWords.unexplained(books) { lines.append(wrapped(closes, indent: "  ")) }
    if books.incidentsDropped > 0 {
      lines.append("  incidents counted but not kept: \(books.incidentsDropped)")
    }
    // Of no interest but when something was lost.
    let quiet = books.sources.filter { $0.source == "inbox" || $0.source.hasPrefix("worker ") }
    for source in books.sources where isVerbose || source.lost > 0 || !quiet.contains(source) {
      var line = "\(source.source): \(source.seen) seen, \(source.lost) lost"
      let details = source.details.filter { $0.value > 0 }.sorted { $0.key < $1.key }
      if isVerbose, !details.isEmpty {
        line += " (" + details.map { "\($0.key) \($0.value)" }.joined(separator: ", ") + ")"
      }
      lines.append(wrapped(line, indent: "  "))
    }
    return lines.joined(separator: "\n")
  }

  private func blindSpots(_ spots: [BlindSpot]) -> String {
    guard !spots.isEmpty else { return style.bold("Blind spots") + "\n  none known" }
    var lines = [style.bold("Blind spots")]
    for spot in spots {
      var text = "\(spot.what): \(spot.cost)"
      if let remedy = spot.remedy { text += "; \(remedy)" }
      lines.append(wrapped(text, indent: "  "))
    }
    return lines.joined(separator: "\n")
  }

  private func wrapped(_ text: String, indent: String) -> String {
    style.wrap(indent + text, keeping: indent)
  }
}
