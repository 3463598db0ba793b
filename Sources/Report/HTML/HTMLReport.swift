public import Correlator
import Evidence

/// A session as one HTML file: it asks nothing of a network, reads without JavaScript (which only
/// zooms and filters), prints, and follows the reader's light or dark scheme.
public struct HTMLReport: Sendable {
  private let utcOffset: Int
  private let version: String

  /// - Parameters:
  ///   - utcOffset: seconds east of UTC, in which times are shown.
  ///   - version: of the program, as `upclose 0.1.0`.
  public init(utcOffset: Int = 0, version: String) {
    self.utcOffset = utcOffset
    self.version = version
  }

  /// - Parameter facts: fed with the observations and the incidents of the same session, and finished.
  public func render(_ summary: Summary, _ facts: SessionFacts) -> String {
    let headline = Headline(summary)
    var body = HTML()
    hero(headline, summary, facts, &body)
    findings(summary, &body)
    pair(summary, &body)
    timeline(facts, &body)
    idle(summary, facts, &body)
    incidents(summary, facts, &body)
    BooksSection.books(summary.books, &body)
    BooksSection.blindSpots(summary.blindSpots, &body)
    body.element("footer") { html in
      html.element(
        "p", "Written by \(version). Times are \(zone). This file asks nothing of a network.")
    }
    var title = HTML()
    title.text("upclose: \(headline.sentence)")
    return Template.filled([
      ("title", title.source), ("style", Template.style), ("body", body.source),
      ("script", Template.script),
    ])
  }

  private var zone: String {
    let text = Timestamp(nanoseconds: 0).iso8601(offset: utcOffset, digits: 0).dropFirst(19)
    return text == "Z" ? "UTC" : "UTC\(text)"
  }

  // MARK: The first screen

  private func hero(
    _ headline: Headline, _ summary: Summary, _ facts: SessionFacts, _ html: inout HTML
  ) {
    html.element("header") { html in
      html.element("div", [.class(headline.isGood ? "hero good" : "hero")]) { html in
        html.element("h1", headline.sentence)
        if let detail = headline.detail { html.element("p", [.class("lead")], detail) }
        if let fix = headline.fix { Self.fix(fix, &html) }
        if !headline.ruledOut.isEmpty {
          html.element("p", [.class("meta")]) { html in
            html.element("b", "Ruled out: ")
            html.text(headline.ruledOut.joined(separator: "; ") + ".")
          }
        }
      }
      numbers(summary, &html)
      html.element("p", [.class("meta")], origin(summary, facts))
      html.element("nav", [.init("aria-label", "Sections")]) { html in
        for (id, name) in Self.sections {
          html.element("a", [.init("href", "#\(id)")], name)
          html.raw(" ")
        }
      }
    }
  }

  private static let sections = [
    ("findings", "Findings"), ("upstreams", "Upstreams"), ("lanes", "Timeline"),
    ("idle", "Idle times"), ("incidents", "Incidents"), ("books", "Books"),
    ("blind-spots", "Blind spots"),
  ]

  /// Host, nginx and time.
  private func origin(_ summary: Summary, _ facts: SessionFacts) -> String {
    var parts: [String] = []
    if !facts.hosts.isEmpty { parts.append(facts.hosts.joined(separator: ", ")) }
    for instance in facts.instances.prefix(4) {
      let version = instance.version.map { " \($0)" } ?? ""
      let path = instance.configurationPath.map { " (\($0))" } ?? ""
      parts.append("nginx\(version)\(path)")
    }
    if let span = summary.span(utcOffset: utcOffset) { parts.append(span) }
    return parts.joined(separator: " · ")
  }

  private func numbers(_ summary: Summary, _ html: inout HTML) {
    let books = summary.books
    let lost = books.sources.filter { $0.source == "packets" }.reduce(0) { $0 + $1.lost }
    let numbers: [(String, String, Bool)] = [
      ("\(books.errors)", "upstream errors", books.errors > 0),
      ("\(books.matched)", "joined to their close", false),
      ("\(books.ambiguous)", "of them ambiguous", books.ambiguous > 0),
      ("\(books.unexplainedCloses)", "closes no error explains", false),
      ("\(lost)", "packets lost", lost > 0),
      ("\(summary.blindSpots.count)", "blind spots", false),
    ]
    html.element("ul", [.class("numbers")]) { html in
      for (number, name, isAlarm) in numbers {
        html.element("li", isAlarm ? [.class("alarm")] : []) { html in
          html.element("b", number)
          html.text(name)
        }
      }
    }
  }

  static func fix(_ fix: Fix, _ html: inout HTML) {
    html.element("div", [.class("fix")]) { html in
      if let line = fix.line {
        html.element("pre", line)
        if let place = fix.place { html.element("p", [.class("meta")], "in \(place)") }
      }
      html.element("p") { html in
        html.element("span", [.class("label")], "Fix")
        html.text(fix.text)
      }
      if let cost = fix.tradeOff { html.element("p", [.class("meta")], "Costs: \(cost)") }
    }
  }

  // MARK: The sections

  private func section(
    _ id: String, _ title: String, _ html: inout HTML, _ body: (inout HTML) -> Void
  ) {
    html.element("section") { html in
      html.element("h2", [.id(id)], title)
      body(&html)
    }
  }

  private func findings(_ summary: Summary, _ html: inout HTML) {
    section("findings", "Findings", &html) { html in
      guard !summary.findings.isEmpty else {
        html.element("p", summary.books.errors == 0 ? "No upstream error was logged." : "None.")
        return
      }
      html.element("ol", [.class("findings")]) { html in
        for finding in summary.findings.prefix(100) { item(finding, &html) }
      }
      let rest = summary.findings.count - 100
      if rest > 0 { html.element("p", [.class("note")], "\(rest) more, of fewer errors each.") }
    }
  }

  private func item(_ finding: Finding, _ html: inout HTML) {
    html.element("li") { html in
      html.element("b", finding.cause.title)
      html.raw(" ")
      html.element("code", finding.upstream)
      html.raw(" ")
      html.element(
        "span", [.class("share")],
        finding.errors == 0
          ? "no error by it yet" : "\(finding.errors) of \(finding.ofErrors) errors")
      html.element("p", finding.text)
      if let fix = finding.fix { Self.fix(fix, &html) }
    }
  }

  private func pair(_ summary: Summary, _ html: inout HTML) {
    guard !summary.upstreams.isEmpty else { return }
    section("upstreams", "Upstreams side by side", &html) { html in
      UpstreamSection.render(summary.upstreams, summary.books, &html)
    }
  }

  private func timeline(_ facts: SessionFacts, _ html: inout HTML) {
    guard let graphic = TimelineGraphic(facts, utcOffset: utcOffset) else { return }
    section("lanes", "Timeline", &html) { html in
      html.element("div", [.class("tools"), .id("zoom"), .init("hidden", "")]) { html in
        for (action, name) in [
          ("in", "Zoom in"), ("out", "Zoom out"), ("left", "←"), ("right", "→"), ("all", "All"),
        ] {
          html.element("button", [.init("type", "button"), .init("data-zoom", action)], name)
        }
        html.element("span", [.class("note")], "or Ctrl and the wheel; drag to move")
      }
      graphic.render(into: &html)
      html.element("p", [.class("legend")]) { html in
        for (name, words) in [
          ("bad", "broke something"), ("notable", "notable"), ("quiet", "healthy, or a note"),
        ] {
          html.element("span") { html in
            html.element("i", [.init("style", "background:var(--\(name))")], "")
            html.text(words)
          }
        }
        html.text("A mark's words are its tooltip; an error's mark leads to its incident.")
      }
    }
  }

  private func idle(_ summary: Summary, _ facts: SessionFacts, _ html: inout HTML) {
    let graphics = facts.idle.sorted { $0.key < $1.key }.compactMap { endpoint, histogram in
      IdleSection(endpoint, histogram, summary, facts)
    }
    guard !graphics.isEmpty else { return }
    section("idle", "How long connections idled before the backend closed them", &html) { html in
      html.element("div", [.class("histograms")]) { html in
        for graphic in graphics { graphic.render(into: &html) }
      }
      html.element("p", [.class("legend")]) { html in
        for (name, words) in [
          ("quiet", "closed when nothing was under way"),
          ("bad", "closed while a request was sent"),
        ] {
          html.element("span") { html in
            html.element("i", [.init("style", "background:var(--\(name))")], "")
            html.text(words)
          }
        }
      }
    }
  }

  private func incidents(_ summary: Summary, _ facts: SessionFacts, _ html: inout HTML) {
    guard !summary.incidents.isEmpty else { return }
    section("incidents", "Incidents, by cause and upstream", &html) { html in
      html.element("div", [.class("tools"), .init("hidden", "")]) { html in
        html.void(
          "input",
          [
            .id("filter"), .init("type", "search"),
            .init("placeholder", "Filter: words of a request, an address, a cause"),
            .init("aria-label", "Filter the incidents"),
          ])
        html.element("span", [.class("note"), .id("found")], "")
      }
      IncidentSection(facts, utcOffset: utcOffset).render(summary, into: &html)
    }
  }
}
