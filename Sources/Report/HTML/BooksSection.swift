import Correlator
import Evidence

/// What was seen, matched and lost; what was not seen at all.
enum BooksSection {
  static func books(_ books: Books, _ html: inout HTML) {
    html.element("section") { html in
      html.element("h2", [.id("books")], "Books")
      html.element("p", BookWords.errors(books))
      if let closes = BookWords.unexplained(books) { html.element("p", closes) }
      html.element("div", [.class("scroll")]) { html in
        html.element("table") { html in
          html.element("thead") { html in
            html.element("tr") { html in
              for name in ["source", "seen", "lost", "details"] { html.element("th", name) }
            }
          }
          html.element("tbody") { html in
            for source in books.sources { row(source, &html) }
          }
        }
      }
    }
  }

  private static func row(_ source: Counters, _ html: inout HTML) {
    let details = source.details.filter { $0.value > 0 }.sorted { $0.key < $1.key }
      .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    html.element("tr") { html in
      html.element("td", source.source)
      html.element("td", "\(source.seen)")
      html.element("td", "\(source.lost)")
      html.element("td", details)
    }
  }

  static func blindSpots(_ spots: [BlindSpot], _ html: inout HTML) {
    html.element("section") { html in
      html.element("h2", [.id("blind-spots")], "Blind spots")
      guard !spots.isEmpty else { return html.element("p", "None known.") }
      html.element("ul") { html in
        for spot in spots {
          html.element("li") { html in
            html.element("b", spot.what)
            html.text(": \(spot.cost).")
            if let remedy = spot.remedy { html.text(" \(remedy)") }
          }
        }
      }
    }
  }
}

/// The books in sentences.
enum BookWords {
  /// As `errors 13: 12 matched to their close (2 ambiguous), 1 without one (1 nothing was sent)`.
  static func errors(_ books: Books) -> String {
    var text = "errors \(books.errors): \(books.matched) matched to their close"
    if books.ambiguous > 0 { text += " (\(books.ambiguous) ambiguous)" }
    if books.unmatched > 0 {
      let reasons = books.unmatchedBecause.sorted { $0.key < $1.key }.map {
        "\($0.value) \($0.key)"
      }
      text += ", \(books.unmatched) without one (\(reasons.joined(separator: "; ")))"
    }
    return text
  }

  /// Nil when there are none.
  static func unexplained(_ books: Books) -> String? {
    guard books.unexplainedCloses > 0 else { return nil }
    return "closes in an exchange that no error explains: \(books.unexplainedCloses) "
      + "(retried in silence, or not nginx's)"
  }
}
