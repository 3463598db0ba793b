import Correlator
import Evidence

/// The timeline in lanes, as inline SVG: positions are percent of its width, so that it fits any
/// screen, and a script can zoom it by computing them anew.
struct TimelineGraphic {
  private let facts: SessionFacts
  private let utcOffset: Int
  private let start: Timestamp
  private let length: Double
  private static let laneHeight = 34

  /// - Returns: nil when there is nothing to draw.
  init?(_ facts: SessionFacts, utcOffset: Int) {
    guard var (first, last) = facts.span else { return nil }
    // What the kernel said shortly before or after belongs to the picture.
    for mark in facts.kernel.marks
    where mark.first > first - .seconds(10) && mark.last < last + .seconds(10) {
      (first, last) = (min(first, mark.first), max(last, mark.last))
    }
    self.facts = facts
    self.utcOffset = utcOffset
    // A margin, so that the first and the last mark are whole; a session of one moment has a length.
    let span = max(TimeSpan.milliseconds(200), last - first)
    let margin = TimeSpan(nanoseconds: span.nanoseconds / 50)
    start = first - margin
    length = Double((span + margin + margin).nanoseconds)
  }

  private var lanes: [(name: String, lane: Lane)] {
    var lanes = [("nginx errors", facts.errors)]
    for (upstream, lane) in facts.closes.sorted(by: { $0.key < $1.key }) {
      lanes.append(("closes, \(upstream)", lane))
    }
    lanes += [
      ("closes, other upstreams", facts.otherCloses), ("resets", facts.resets),
      ("kernel log", facts.kernel), ("processes", facts.processes),
      ("port checks that failed", facts.ports), ("nginx reloads", facts.reloads),
    ]
    // "None" is said only of what was watched.
    return lanes.filter { name, lane in
      !lane.isEmpty || name == "nginx errors"
        || name == "kernel log" && facts.counters["kernel"] != nil
    }
  }

  func render(into html: inout HTML) {
    let lanes = lanes
    let height = lanes.count * Self.laneHeight + 24
    html.element("div", [.class("timeline"), .id("timeline")]) { html in
      html.element(
        "svg",
        [
          .class("lanes"), .init("width", "100%"), .init("height", "\(height)"),
          .init("role", "img"), .init("aria-label", "Timeline of the session in lanes"),
          .init("data-start", "\(start.nanoseconds / 1000)"),
          .init("data-length", fixed(length / 1000, decimals: 0)),
          .init("data-offset", "\(utcOffset)"),
        ]
      ) { html in
        axis(&html, height: height)
        for (index, item) in lanes.enumerated() {
          draw(item.name, item.lane, top: index * Self.laneHeight, &html)
        }
      }
    }
  }

  private func axis(_ html: inout HTML, height: Int) {
    html.element("g", [.class("axis")]) { html in
      for tick in Ticks.times(from: start, nanoseconds: length, offset: utcOffset, most: 6) {
        let x = percentage(position(tick.time))
        html.element(
          "line",
          [.init("x1", x), .init("x2", x), .init("y1", "0"), .init("y2", "\(height - 18)")], "")
        html.element(
          "text", [.init("x", x), .init("y", "\(height - 5)"), .init("text-anchor", "middle")],
          tick.label)
      }
    }
  }

  private func draw(_ name: String, _ lane: Lane, top: Int, _ html: inout HTML) {
    let end = start + TimeSpan(nanoseconds: Int64(length))
    let shown = lane.marks.filter { $0.first >= start && $0.last <= end }
    let count = shown.reduce(0) { $0 + $1.count }
    let outside = lane.count - count
    var title = lane.isEmpty ? "\(name): none" : "\(name) (\(count))"
    if outside > 0 { title += ", \(outside) outside the time shown" }
    html.element("text", [.class("lane"), .init("x", "0"), .init("y", "\(top + 12)")], title)
    html.element(
      "line",
      [
        .class("base"), .init("x1", "0"), .init("x2", "100%"), .init("y1", "\(top + 31)"),
        .init("y2", "\(top + 31)"),
      ], "")
    for mark in shown { draw(mark, top: top + 16, &html) }
  }

  private func draw(_ mark: Lane.Mark, top: Int, _ html: inout HTML) {
    let from = position(mark.first)
    let width = position(mark.last) - from
    var words = mark.first.timeOfDay(offset: utcOffset)
    if mark.count > 1 {
      words += " to \(mark.last.timeOfDay(offset: utcOffset)), \(mark.count) of them, as"
    }
    let weight = ["quiet", "notable", "bad"][mark.weight.rawValue]
    let rectangle = { (html: inout HTML) in
      html.element(
        "rect",
        [
          .class("m \(weight)"), .init("x", percentage(from)), .init("y", "\(top)"),
          // Thinner than a few pixels it would not be seen: the style sheet sees to that.
          .init("width", width * 1000 < 3 ? "3" : percentage(width)), .init("height", "14"),
        ]
      ) { $0.element("title", "\(words) \(mark.text)") }
    }
    if let incident = mark.incident, mark.count == 1 {
      html.element("a", [.init("href", "#i\(incident)")], rectangle)
    } else {
      rectangle(&html)
    }
  }

  private func position(_ time: Timestamp) -> Double {
    Double((time - start).nanoseconds) / length
  }
}

/// Round positions on an axis.
enum Ticks {
  private static let steps: [Int64] = [
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000, 100_000_000, 200_000_000,
    500_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000, 10_000_000_000, 15_000_000_000,
    30_000_000_000, 60_000_000_000, 120_000_000_000, 300_000_000_000, 600_000_000_000,
    900_000_000_000, 1_800_000_000_000, 3_600_000_000_000, 7_200_000_000_000, 21_600_000_000_000,
    43_200_000_000_000, 86_400_000_000_000,
  ]

  /// Times of day at round distances, at most `most` of them, local to the offset.
  static func times(
    from start: Timestamp, nanoseconds: Double, offset: Int, most: Int
  ) -> [(time: Timestamp, label: String)] {
    let least = nanoseconds / Double(max(1, most))
    let step =
      steps.first { Double($0) >= least } ?? Int64(least / 86_400e9 + 1) * 86_400_000_000_000
    let digits = step >= 1_000_000_000 ? 0 : step >= 100_000_000 ? 1 : step >= 10_000_000 ? 2 : 3
    let shift = Int64(offset) * 1_000_000_000
    var at = (start.nanoseconds + shift) / step * step - shift
    let end = start.nanoseconds + Int64(nanoseconds)
    var ticks: [(Timestamp, String)] = []
    while at <= end {
      if at >= start.nanoseconds {
        let time = Timestamp(nanoseconds: at)
        ticks.append((time, time.timeOfDay(offset: offset, digits: digits)))
      }
      at += step
    }
    return ticks
  }
}
