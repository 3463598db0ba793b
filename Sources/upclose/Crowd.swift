import Correlator
import Evidence

/// Keeps a flood of like incidents from filling the terminal: of one cause on one upstream a few are
/// printed in ten seconds, and the rest as one line with their number.
struct Crowd {
  static let shown = 5
  static let span = TimeSpan.seconds(10)

  private var groups: [String: Group] = [:]

  private struct Group {
    var since: Timestamp
    var printed = 0
    var held = 0
    var label: String
  }

  /// Whether to print an incident now; else it is counted.
  mutating func admits(_ incident: Incident) -> Bool {
    let label = Self.label(incident)
    let time = incident.time.best
    var group = groups[label] ?? Group(since: time, label: label)
    if time - group.since >= Self.span, group.held == 0 { group = Group(since: time, label: label) }
    let isAdmitted = group.printed < Self.shown
    if isAdmitted { group.printed += 1 } else { group.held += 1 }
    groups[label] = group
    return isAdmitted
  }

  /// Whether incidents like this one are only counted at present.
  func holds(_ incident: Incident) -> Bool { (groups[Self.label(incident)]?.held ?? 0) > 0 }

  private static func label(_ incident: Incident) -> String {
    "\(incident.upstream ?? "-") \(incident.verdict.cause.rawValue)"
  }

  /// A line for each crowd whose ten seconds are over by then, or for every one.
  mutating func release(at time: Timestamp?) -> [String] {
    var lines: [String] = []
    for (label, group) in groups.sorted(by: { $0.key < $1.key })
    where group.held > 0 && (time.map { $0 - group.since >= Self.span } ?? true) {
      lines.append("… \(group.held) more of the same: \(label)")
      groups[label] = nil
    }
    return lines
  }
}
