public import Correlator
import Evidence

/// One incident as text: one line where nothing limits the width, else the line and its evidence.
public struct IncidentText: Sendable {
  private let style: TextStyle

  public init(_ style: TextStyle) { self.style = style }

  public func render(_ incident: Incident) -> String {
    // No decimals where only the second is known.
    let isRough = incident.time.latest - incident.time.earliest > .milliseconds(500)
    let clock =
      isRough
      ? incident.time.earliest.timeOfDay(offset: style.utcOffset, digits: 0)
      : incident.time.best.timeOfDay(offset: style.utcOffset)
    let revised = incident.revision > 1 ? " (revised)" : ""
    let who = incident.close.map(whoClosed) ?? "no close: \(reason(incident))"
    let cause = incident.verdict.cause
    let verdict = "\(cause.rawValue) \(percent(incident.verdict.probability))"
    let colored = cause == .unknown ? style.yellow(verdict) : style.red(verdict)
    let head = "\(clock) #\(incident.id)\(revised) \(incident.upstream ?? "-") "
    let evidence = incident.evidence.first?.text ?? incident.message
    let plain = "\(head)\(verdict) | \(who) | \(evidence)"
    guard let width = style.width, plain.count > width else {
      return "\(head)\(style.bold(colored)) | \(who) | \(evidence)"
    }
    let indent = String(repeating: " ", count: 13)
    let inner = TextStyle(width: width - 1)
    return [
      head + style.bold(colored), inner.wrap(indent + who, keeping: indent),
      inner.wrap(indent + evidence, keeping: indent),
    ].joined(separator: "\n")
  }

  /// All evidence with its weights, the rivals, what was ruled out and the fix, a line each.
  public func details(_ incident: Incident) -> String {
    var lines: [String] = []
    for item in incident.evidence {
      let sign = item.decibans < 0 ? "-" : "+"
      lines.append("\(sign)\(Int(abs(item.decibans))) \(item.source): \(item.text)")
    }
    if !incident.verdict.rivals.isEmpty {
      let rivals = incident.verdict.rivals.map { "\($0.cause.rawValue) \(percent($0.probability))" }
      lines.append("rivals: " + rivals.joined(separator: ", "))
    }
    if !incident.ruledOut.isEmpty {
      lines.append("ruled out: " + incident.ruledOut.joined(separator: "; "))
    }
    if let text = afterwards(incident) { lines.append("then: " + text) }
    if let text = FindingWords.effects(incident) { lines.append("then: " + text) }
    lines.append("retry: " + incident.retrySafety.text)
    if let fix = incident.fix {
      let directive = fix.directive.map { "\($0) \(fix.value ?? "…"); " } ?? ""
      lines.append("fix: \(directive)\(fix.text)")
      if let cost = fix.tradeOff { lines.append("costs: \(cost)") }
    }
    let indent = String(repeating: " ", count: 13)
    return lines.map { style.wrap(indent + $0, keeping: indent) }.joined(separator: "\n")
  }

  /// As `tried 10.0.0.1:80, 10.0.0.2:80; the client got 200`.
  private func afterwards(_ incident: Incident) -> String? {
    var parts: [String] = []
    if let status = incident.clientStatus {
      let peers = (incident.aftermath?.tries ?? []).compactMap { $0.peer.map(String.init) }
      if peers.count > 1 { parts.append("tried " + peers.joined(separator: ", ")) }
      parts.append("the client got \(status)" + (incident.aftermath?.isCut == true ? ", cut" : ""))
    }
    if let because = incident.aftermath?.notRetriedBecause {
      parts.append("not tried again: \(because)")
    }
    if let disabled = incident.aftermath?.disabled {
      let scope = disabled.worker.map { "worker \($0)" } ?? "all workers"
      parts.append(
        "\(disabled.peer) is left out until \(disabled.until.timeOfDay(offset: style.utcOffset)) "
          + "(\(scope))")
    }
    return parts.isEmpty ? nil : parts.joined(separator: "; ")
  }

  private func reason(_ incident: Incident) -> String {
    incident.match.unmatchedBecause ?? "not found"
  }

  /// As `backend closed by FIN, awaiting the response`.
  func whoClosed(_ close: Incident.Close) -> String {
    CloseWords.sentence(
      closer: close.closer, manner: close.manner, phase: close.phase,
      idleBeforeClose: close.idleBeforeClose)
  }
}
