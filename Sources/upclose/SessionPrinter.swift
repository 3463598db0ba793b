import Correlator
import Evidence
import Report

/// Prints incidents as they stand, and the summary at the end, in the format asked for; the same for
/// a live session, a replay and the demo.
final class SessionPrinter {
  private var crowd = Crowd()
  private let output: Output
  private let options: OutputOptions
  private let style: TextStyle
  private let json: JSONReport

  init(output: Output, options: OutputOptions, utcOffset: Int) {
    self.output = output
    self.options = options
    style = TextStyle(
      isColored: options.color.isColored(output.descriptor), width: output.columns,
      utcOffset: utcOffset)
    json = JSONReport(utcOffset: utcOffset)
  }

  func print(_ incident: Incident) {
    switch options.format {
    case .text:
      releaseCrowd(at: incident.time.best)
      guard crowd.admits(incident) else { return }
      output.write(IncidentText(style).render(incident) + "\n")
      if options.verbose { output.write(IncidentText(style).details(incident) + "\n") }
    case .ndjson: output.write(json.incident(incident).compact + "\n")
    case .json: break
    }
    output.flush()
  }

  private func releaseCrowd(at time: Timestamp?) {
    for line in crowd.release(at: time) { output.write(line + "\n") }
  }

  func print(_ summary: Summary) {
    switch options.format {
    case .text:
      releaseCrowd(at: nil)
      output.write("\n" + SummaryText(style, isVerbose: options.verbose).render(summary))
    case .ndjson: break
    case .json: output.write(json.summary(summary).pretty + "\n")
    }
    output.flush()
  }

  /// The incident as one line of JSON.
  func write(_ incident: Incident, to other: Output) {
    other.write(json.incident(incident).compact + "\n")
    other.flush()
  }
}
