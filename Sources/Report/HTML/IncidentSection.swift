import Correlator
import Evidence

/// The incidents, grouped by upstream and cause: a bounded number in full, more as rows, the rest as
/// a number that is said.
struct IncidentSection {
  /// Of the whole page.
  static let detailLimit = 200
  static let rowLimit = 2000
  static let rowsPerGroup = 200

  private let facts: SessionFacts
  private let utcOffset: Int

  init(_ facts: SessionFacts, utcOffset: Int) {
    self.facts = facts
    self.utcOffset = utcOffset
  }

  private struct Group {
    var upstream: String
    var cause: CauseID
    var incidents: [Incident]
  }

  private static func groups(_ incidents: [Incident]) -> [Group] {
    var groups: [Group] = []
    var positions: [String: Int] = [:]
    for incident in incidents {
      let upstream = incident.upstream ?? "-"
      let key = "\(upstream) \(incident.verdict.cause.rawValue)"
      if let position = positions[key] {
        groups[position].incidents.append(incident)
      } else {
        positions[key] = groups.count
        groups.append(
          Group(upstream: upstream, cause: incident.verdict.cause, incidents: [incident]))
      }
    }
    return groups.sorted { ($1.incidents.count, $0.upstream) < ($0.incidents.count, $1.upstream) }
  }

  func render(_ summary: Summary, into html: inout HTML) {
    var details = Self.detailLimit
    var rows = Self.rowLimit
    let groups = Self.groups(summary.incidents)
    for (index, group) in groups.enumerated() {
      html.element(
        "details", [.class("group")] + (index == 0 ? [.init("open", "")] : [])
      ) { html in
        html.element("summary") { html in
          html.element("span", [.class("count")], "\(group.incidents.count)")
          html.raw(" ")
          html.element("b", group.cause.title)
          html.raw(" ")
          html.element("code", group.upstream)
        }
        let full = group.incidents.prefix(min(SessionFacts.detailLimit, details))
        details -= full.count
        for incident in full { render(incident, into: &html) }
        let listed = group.incidents.dropFirst(full.count).prefix(min(Self.rowsPerGroup, rows))
        rows -= listed.count
        if !listed.isEmpty { table(listed, &html) }
        let rest = group.incidents.count - full.count - listed.count
        if rest > 0 {
          html.element(
            "p", [.class("note")],
            "\(rest) more like these are counted and not listed; --format ndjson has each.")
        }
      }
    }
    if summary.books.incidentsDropped > 0 {
      html.element(
        "p", [.class("note")],
        "\(summary.books.incidentsDropped) more were counted in the findings, but not kept.")
    }
  }

  private func table(_ incidents: ArraySlice<Incident>, _ html: inout HTML) {
    html.element("div", [.class("scroll")]) { html in
      html.element("table", [.class("incidents")]) { html in
        html.element("thead") { html in
          html.element("tr") { html in
            for name in ["time", "#", "sure", "request", "client", "close"] {
              html.element("th", name)
            }
          }
        }
        html.element("tbody") { html in
          for incident in incidents {
            html.element("tr", [.class("i"), .id("i\(incident.id)")]) { html in
              html.element("td", [.class("time")], time(incident))
              html.element("td", "\(incident.id)")
              html.element("td", percent(incident.verdict.probability))
              html.element("td", incident.request.map { shortened($0, 160) } ?? "-")
              html.element("td", incident.clientStatus.map(String.init) ?? "-")
              html.element("td", closeText(incident))
            }
          }
        }
      }
    }
  }

  private func time(_ incident: Incident) -> String {
    // No decimals where only the second is known.
    let isRough = incident.time.latest - incident.time.earliest > .milliseconds(500)
    return isRough
      ? incident.time.earliest.timeOfDay(offset: utcOffset, digits: 0)
      : incident.time.best.timeOfDay(offset: utcOffset)
  }

  private func closeText(_ incident: Incident) -> String {
    guard let close = incident.close else {
      return "no close: \(incident.match.unmatchedBecause ?? "not found")"
    }
    return CloseWords.sentence(
      closer: close.closer, manner: close.manner, phase: close.phase,
      idleBeforeClose: close.idleBeforeClose)
  }

  // MARK: One in full

  private func render(_ incident: Incident, into html: inout HTML) {
    html.element("details", [.class("incident i"), .id("i\(incident.id)")]) { html in
      html.element("summary") { html in
        html.element("span", [.class("time")], time(incident))
        html.raw(" ")
        html.element("span", [.class("number")], "#\(incident.id)")
        html.raw(" ")
        html.element("b", percent(incident.verdict.probability))
        html.raw(" ")
        html.element("span", [.class("what")], closeText(incident))
        if let request = incident.request {
          html.raw(" ")
          html.element("code", shortened(request, 160))
        }
      }
      html.element("div", [.class("body")]) { html in
        html.element("p", [.class("message")]) { $0.element("code", incident.message) }
        html.element("div", [.class("facts")]) { html in
          sequence(incident, &html)
          html.element("div") { html in
            ladder(incident, &html)
            verdict(incident, &html)
          }
        }
        facts(incident, &html)
      }
    }
  }

  private func sequence(_ incident: Incident, _ html: inout HTML) {
    guard let close = incident.close,
      let steps = SequenceSteps(
        facts.connections[close.connection], facts.trails[close.connection])
    else { return }
    html.element("figure") { html in
      SequenceGraphic(steps, flow: close.flow, utcOffset: utcOffset).render(into: &html)
    }
  }

  /// Every piece of evidence with its weight; a bar's length follows it.
  private func ladder(_ incident: Incident, _ html: inout HTML) {
    guard !incident.evidence.isEmpty else { return }
    let strongest = incident.evidence.map { abs($0.decibans) }.max() ?? 1
    html.element("h4", "Evidence, in decibans (+10 is ten to one)")
    html.element("ul", [.class("ladder")]) { html in
      for item in incident.evidence {
        let isAgainst = item.decibans < 0
        let share = strongest > 0 ? abs(item.decibans) / strongest * 100 : 0
        html.element("li", [.class(isAgainst ? "against" : "for")]) { html in
          html.element(
            "b", (isAgainst ? "−" : "+") + "\(Int(abs(item.decibans).rounded()))")
          html.element("span", [.class("source")], item.source)
          html.element("span", [.class("words")], item.text)
          html.element(
            "i", [.init("style", "width:\(fixed(max(2, share), decimals: 0))%")], "")
        }
      }
    }
  }

  private func verdict(_ incident: Incident, _ html: inout HTML) {
    html.element("p", [.class("verdict")]) { html in
      html.text("Verdict: ")
      html.element("b", incident.verdict.cause.title)
      html.text(" \(percent(incident.verdict.probability)). ")
      let rivals = incident.verdict.rivals.map { "\($0.cause.title) \(percent($0.probability))" }
      html.text(
        rivals.isEmpty ? "No rival at 1 % or more." : "Rivals: \(rivals.joined(separator: ", ")).")
    }
    guard !incident.ruledOut.isEmpty else { return }
    html.element("p", [.class("ruled")]) { html in
      html.element("b", "Ruled out: ")
      html.text(incident.ruledOut.joined(separator: "; ") + ".")
    }
  }

  private func facts(_ incident: Incident, _ html: inout HTML) {
    var pairs: [(String, String)] = []
    if let close = incident.close {
      pairs.append(("connection", close.flow.description))
      pairs.append(("state, history", "\(close.connState.rawValue) \(close.history)"))
      pairs.append(("request delivery", CloseFacts.delivery(close.requestDelivery)))
      if let exchanges = close.exchanges { pairs.append(("exchanges", "\(exchanges)")) }
      if let owner = close.owner {
        let group = owner.cgroup.map { ", \($0)" } ?? ""
        pairs.append(("owner", "pid \(owner.pid) (\(owner.command))\(group)"))
      }
      let sure = percent(incident.match.confidence)
      let candidates = incident.match.candidates
      pairs.append(
        ("match", "\(sure), of \(candidates) candidate\(candidates == 1 ? "" : "s")"))
    } else {
      pairs.append(("match", "no close: \(incident.match.unmatchedBecause ?? "not found")"))
    }
    if let request = incident.request, request.count > 160 { pairs.append(("request", request)) }
    pairs.append(("worker", "\(incident.worker)"))
    pairs += CloseFacts.aftermath(incident, utcOffset: utcOffset)
    if let fix = incident.fix {
      let place = fix.place.map { " in \($0)" } ?? ""
      pairs.append(("fix", (fix.line.map { "\($0)\(place) " } ?? "") + fix.text))
    }
    html.element("dl") { html in
      for (name, value) in pairs {
        html.element("dt", name)
        html.element("dd", value)
      }
    }
    guard !incident.roots.isEmpty else { return }
    html.element("p") { html in
      html.text("Led to by ")
      for root in incident.roots.prefix(20) {
        html.element("a", [.init("href", "#i\(root)")], "#\(root)")
        html.text(" ")
      }
    }
  }
}

/// Facts of a close and of what followed, in words.
enum CloseFacts {
  static func delivery(_ delivery: RequestDelivery) -> String {
    switch delivery {
    case .neverSent: "never sent: safe to retry"
    case .rejected: "rejected unread: safe to retry"
    case .partlyAcknowledged: "partly acknowledged by the backend's kernel"
    case .acknowledged: "acknowledged by the backend's kernel; whether it was read is not known"
    case .unknown: "not known"
    }
  }

  static func aftermath(_ incident: Incident, utcOffset: Int) -> [(String, String)] {
    var pairs: [(String, String)] = []
    if let status = incident.clientStatus {
      let cut = incident.aftermath?.isCut == true ? ", cut short" : ""
      pairs.append(("client got", "\(status)\(cut)"))
    }
    let tries = (incident.aftermath?.tries ?? []).compactMap { $0.peer.map(String.init) }
    if tries.count > 1 { pairs.append(("tried", tries.joined(separator: ", "))) }
    if let because = incident.aftermath?.notRetriedBecause {
      pairs.append(("not tried again", because))
    }
    if let disabled = incident.aftermath?.disabled {
      let scope = disabled.worker.map { "worker \($0)" } ?? "all workers"
      pairs.append(
        (
          "left out",
          "\(disabled.peer) until \(disabled.until.timeOfDay(offset: utcOffset)) (\(scope))"
        ))
    }
    return pairs
  }
}
