import Correlator
import Evidence

/// The upstreams: a pair (or a few) side by side, many as rows, the worst first.
enum UpstreamSection {
  private static let sideBySide = 4
  private static let most = 200

  static func render(
    _ upstreams: [UpstreamStatistics], _ books: Books, _ html: inout HTML
  ) {
    html.element("div", [.class("scroll")]) { html in
      if upstreams.count <= sideBySide {
        columns(upstreams, books, &html)
      } else {
        rows(
          Array(
            upstreams.sorted { ($1.errors, $0.upstream) < ($0.errors, $1.upstream) }.prefix(most)),
          books, &html)
      }
    }
    if upstreams.count > most {
      html.element(
        "p", [.class("note")], "\(upstreams.count - most) more, of fewer errors; JSON has all.")
    }
  }

  private static func columns(
    _ upstreams: [UpstreamStatistics], _ books: Books, _ html: inout HTML
  ) {
    html.element("table", [.class("pair")]) { html in
      html.element("thead") { html in
        html.element("tr") { html in
          html.element("td", "")
          for upstream in upstreams { html.element("th", upstream.upstream) }
        }
      }
      html.element("tbody") { html in
        for row in UpstreamRows.rows(upstreams, books) {
          html.element("tr", row.isDetail ? [.class("detail")] : []) { html in
            html.element("th", row.name)
            let worst = worst(row, upstreams)
            for (index, cell) in row.cells.enumerated() {
              html.element("td", index == worst ? [.class("most")] : [], cell)
            }
          }
        }
      }
    }
  }

  /// The one upstream that has at least twice the errors of each other: only rows that count
  /// failures point at somebody.
  private static func worst(_ row: UpstreamRows.Row, _ upstreams: [UpstreamStatistics]) -> Int? {
    let isFailure =
      row.name == "errors" || row.name == "in an exchange" || row.name == "refused"
      || upstreams.contains { $0.causes[row.name] != nil }
    let counts = row.cells.compactMap { Int($0) }
    guard isFailure, counts.count == row.cells.count, counts.count > 1,
      let most = counts.max(), most > 0, let index = counts.firstIndex(of: most),
      counts.enumerated().allSatisfy({ $0.offset == index || $0.element * 2 <= most })
    else { return nil }
    return index
  }

  private static func rows(
    _ upstreams: [UpstreamStatistics], _ books: Books, _ html: inout HTML
  ) {
    let rows = UpstreamRows.rows(upstreams, books)
    html.element("table") { html in
      html.element("thead") { html in
        html.element("tr") { html in
          html.element("th", "upstream")
          for row in rows { html.element("th", row.name) }
        }
      }
      html.element("tbody") { html in
        for (index, upstream) in upstreams.enumerated() {
          html.element("tr") { html in
            html.element("th") { $0.element("code", upstream.upstream) }
            for row in rows { html.element("td", row.cells[index]) }
          }
        }
      }
    }
  }
}

/// The idle times of one upstream: the picture, and what it says.
struct IdleSection {
  private let endpoint: Endpoint
  private let histogram: IdleHistogram
  private let graphic: HistogramGraphic
  private let backend: Estimate?
  private let nginx: TimeSpan?

  init?(
    _ endpoint: Endpoint, _ histogram: IdleHistogram, _ summary: Summary, _ facts: SessionFacts
  ) {
    self.endpoint = endpoint
    self.histogram = histogram
    backend = summary.upstreams.first { $0.upstream == endpoint.description }?.idleTimeout
    nginx = facts.keepaliveTimeout(of: endpoint)
    guard let graphic = HistogramGraphic(histogram, backend: backend, nginx: nginx) else {
      return nil
    }
    self.graphic = graphic
  }

  func render(into html: inout HTML) {
    html.element("div") { html in
      html.element("h3", endpoint.description)
      html.element("p", [.class("note")], words)
      graphic.render(into: &html)
    }
  }

  private var words: String {
    var parts = ["\(histogram.closedCount + histogram.racedCount) closes by the backend"]
    if histogram.racedCount > 0 { parts.append("\(histogram.racedCount) met a request") }
    if histogram.untold > 0 {
      parts.append("\(histogram.untold) more were only counted, their idle time is not known")
    }
    if backend == nil { parts.append("no common limit is to be seen") }
    if nginx == nil { parts.append("nginx's keepalive_timeout is not known") }
    return parts.joined(separator: "; ") + "."
  }
}

extension SessionFacts {
  /// How long nginx keeps an idle connection to an upstream; the longest where its groups differ, nil
  /// where it keeps none or nothing is known.
  func keepaliveTimeout(of endpoint: Endpoint) -> TimeSpan? {
    instances.flatMap(\.upstreams).filter { group in
      group.keepalive != nil && group.servers.contains { $0.peers.contains(.tcp(endpoint)) }
    }.compactMap(\.keepaliveTimeout).max()
  }
}
