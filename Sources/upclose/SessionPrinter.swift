import Correlator
import Evidence
import Report
import Session

/// Prints incidents as they stand, and the summary at the end, in the format asked for; the same for
/// a live session, a replay and the demo.
final class SessionPrinter: SessionReporter {
  private var crowd = Crowd()
  /// What was last said of the latest incidents.
  private var told: [Int: (cause: CauseID, lines: String)] = [:]
  private let output: Output
  private let options: OutputOptions
  private let style: TextStyle
  private let json: JSONReport
  private let utcOffset: Int
  /// Written at the end beside the output.
  private let reports: [ReportFile]
  /// What the report shows beside the verdicts; only where something does.
  private(set) var facts = SessionFacts()
  /// Whether they are kept; from the first observation on, or not at all.
  var keepsFacts: Bool

  init(output: Output, options: OutputOptions, utcOffset: Int, reports: [ReportFile] = []) {
    self.output = output
    self.reports = reports
    keepsFacts = options.format == .html || reports.contains { $0.format == .html }
    self.options = options
    style = TextStyle(
      isColored: options.color.isColored(output.descriptor), width: output.columns,
      utcOffset: utcOffset)
    json = JSONReport(utcOffset: utcOffset)
    self.utcOffset = utcOffset
  }

  /// Takes each observation that the correlator takes.
  func observe(_ observation: Observation) {
    if keepsFacts { facts.observe(observation) }
  }

  /// Says that all observations up to this time are in.
  func advance(to time: Timestamp) {
    if keepsFacts { facts.advance(to: time) }
  }

  /// Why a report could not be written.
  var failure: String? { reports.lazy.compactMap(\.output.failure).first }

  func print(_ incident: Incident) {
    switch options.format {
    case .text:
      releaseCrowd(at: incident.time.best)
      let lines = self.lines(incident)
      guard isNews(incident, lines), crowd.admits(incident) else { return }
      output.write(lines + "\n")
    case .ndjson: output.write(json.incident(incident).compact + "\n")
    case .json, .markdown, .html: break
    }
    if keepsFacts { facts.observe(incident) }
    output.flush()
  }

  private func lines(_ incident: Incident) -> String {
    let text = IncidentText(style)
    return text.render(incident) + (options.verbose ? "\n" + text.details(incident) : "")
  }

  /// Whether a reader would see anything new: a revision may be about what the text does not show, or
  /// about one of a crowd that was only counted.
  private func isNews(_ incident: Incident, _ lines: String) -> Bool {
    var first = incident
    first.revision = 1
    let said = incident.revision == 1 ? lines : self.lines(first)
    defer {
      told[incident.id] = (incident.verdict.cause, said)
      // Revisions come within seconds; what is older is not asked for again.
      if told.count > 4096 { told = told.filter { $0.key > incident.id - 2048 } }
    }
    guard let before = told[incident.id] else { return true }
    let isCounted = crowd.holds(incident) && before.cause == incident.verdict.cause
    return before.lines != said && !isCounted
  }

  private func releaseCrowd(at time: Timestamp?) {
    for line in crowd.release(at: time) { output.write(line + "\n") }
  }

  func print(_ summary: Summary) {
    facts.finish()
    if options.format == .text {
      releaseCrowd(at: nil)
      output.write("\n")
    }
    output.write(document(summary, options.format))
    output.flush()
    for report in reports {
      report.output.write(document(summary, report.format))
      report.output.flush()
    }
  }

  private func document(_ summary: Summary, _ format: OutputFormat) -> String {
    switch format {
    case .text: SummaryText(style, isVerbose: options.verbose).render(summary)
    case .ndjson: ""
    case .json: json.summary(summary).pretty + "\n"
    case .markdown: MarkdownReport(utcOffset: utcOffset).render(summary)
    case .html: HTMLReport(utcOffset: utcOffset, version: programVersion).render(summary, facts)
    }
  }

  /// The incident as a recording keeps it.
  func recorded(_ incident: Incident) -> RecordedIncident {
    RecordedIncident(
      time: incident.close?.time ?? incident.time.best,
      message: IncidentText(TextStyle(utcOffset: style.utcOffset)).render(incident),
      json: json.incident(incident).compact)
  }

  /// The incident as one line of JSON.
  func write(_ incident: Incident, to other: Output) {
    other.write(json.incident(incident).compact + "\n")
    other.flush()
  }
}

/// A file for the whole report, written at the end.
struct ReportFile {
  var output: Output
  var format: OutputFormat

  /// - Throws: `ProbeError` when it cannot be written.
  init(_ argument: ReportArgument) throws {
    output = try Output(path: argument.path)
    format = argument.format
  }
}
