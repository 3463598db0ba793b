import Correlator
import Evidence

/// How long connections of one upstream idled until the backend closed them, with both limits drawn
/// in: where nginx's stands to the right of the backend's, the race is open.
struct HistogramGraphic {
  private let histogram: IdleHistogram
  private let backend: Estimate?
  private let nginx: TimeSpan?
  private let from: Double
  private let to: Double

  private static let height = 150
  private static let base = 122
  private static let top = 34

  /// - Parameters:
  ///   - backend: how long the backend keeps an idle connection, as measured.
  ///   - nginx: how long nginx does, as configured.
  /// - Returns: nil when there is nothing to draw.
  init?(_ histogram: IdleHistogram, backend: Estimate?, nginx: TimeSpan?) {
    guard !histogram.isEmpty else { return nil }
    self.histogram = histogram
    self.backend = backend
    self.nginx = nginx
    let buckets = Array(histogram.closed.keys) + Array(histogram.raced.keys)
    let spans =
      buckets.flatMap { [ReuseGaps.lowerBound(of: $0), ReuseGaps.lowerBound(of: $0 + 1)] }
      + [backend?.value, nginx].compactMap(\.self)
    let seconds = spans.map { max(0.001, $0.seconds) }
    // A doubling of room on either side, and at least a decade in all.
    let least = (seconds.min() ?? 0.001) / 2
    from = Self.log2(least)
    to = max(from + 3.3, Self.log2((seconds.max() ?? 1) * 2))
  }

  func render(into html: inout HTML) {
    let tallest = max(1, barHeights.map(\.total).max() ?? 1)
    html.element(
      "svg",
      [
        .class("histogram"), .init("width", "100%"), .init("height", "\(Self.height)"),
        .init("role", "img"),
        .init("aria-label", "Idle time of connections before the backend closed them"),
      ]
    ) { html in
      axis(&html)
      if let nginx {
        limit("nginx keeps \(nginx)", at: nginx, "nginx", row: 0, &html)
      }
      if let backend {
        limit("backend closes \(backend.value)", at: backend.value, "backend", row: 1, &html)
      }
      // Over the limits' lines, which would hide a narrow bar.
      for bar in barHeights { draw(bar, tallest, &html) }
    }
  }

  private struct Bar {
    var bucket: Int
    var closed: UInt64
    var raced: UInt64
    var total: UInt64 { closed + raced }
  }

  private var barHeights: [Bar] {
    Set(histogram.closed.keys).union(histogram.raced.keys).sorted().map {
      Bar(bucket: $0, closed: histogram.closed[$0] ?? 0, raced: histogram.raced[$0] ?? 0)
    }
  }

  private func draw(_ bar: Bar, _ tallest: UInt64, _ html: inout HTML) {
    let (low, high) = (
      ReuseGaps.lowerBound(of: bar.bucket), ReuseGaps.lowerBound(of: bar.bucket + 1)
    )
    let (x, end) = (position(low), position(high))
    var bottom = Double(Self.base)
    for (count, name) in [(bar.closed, "closed"), (bar.raced, "raced")] where count > 0 {
      let share = Double(count) / Double(tallest) * Double(Self.base - Self.top)
      let height = max(2, share)
      bottom -= height
      html.element(
        "rect",
        [
          .class(name), .init("x", percentage(x)), .init("y", fixed(bottom, decimals: 1)),
          .init("width", percentage(max(0.004, end - x - 0.001))),
          .init("height", fixed(height, decimals: 1)),
        ]
      ) { html in
        let what =
          name == "closed" ? "closed by the backend when idle" : "closed while a request was sent"
        html.element("title", "\(low) to \(high): \(count) \(what)")
      }
    }
  }

  private func limit(
    _ text: String, at span: TimeSpan, _ name: String, row: Int, _ html: inout HTML
  ) {
    let x = position(span)
    let place = percentage(x)
    html.element(
      "line",
      [
        .class("limit \(name)"), .init("x1", place), .init("x2", place),
        .init("y1", "\(row * 14 + 4)"), .init("y2", "\(Self.base)"),
      ], "")
    html.element(
      "text",
      [
        .class("limit \(name)"), .init("x", place), .init("y", "\(row * 14 + 12)"),
        .init("dx", x > 0.5 ? "-5" : "5"), .init("text-anchor", x > 0.5 ? "end" : "start"),
      ], text)
  }

  private func axis(_ html: inout HTML) {
    html.element("g", [.class("axis")]) { html in
      html.element(
        "line",
        [
          .class("base"), .init("x1", "0"), .init("x2", "100%"), .init("y1", "\(Self.base)"),
          .init("y2", "\(Self.base)"),
        ], "")
      for (span, label) in Self.marks {
        let x = position(span)
        guard (0.01...0.99).contains(x) else { continue }
        html.element(
          "text",
          [
            .init("x", percentage(x)), .init("y", "\(Self.base + 16)"),
            .init("text-anchor", "middle"),
          ], label)
      }
    }
  }

  private static let marks: [(TimeSpan, String)] = [
    (.milliseconds(1), "1 ms"), (.milliseconds(10), "10 ms"), (.milliseconds(100), "100 ms"),
    (.seconds(1), "1 s"), (.seconds(5), "5 s"), (.seconds(15), "15 s"), (.seconds(60), "1 min"),
    (.seconds(300), "5 min"), (.seconds(3600), "1 h"),
  ]

  /// On a logarithmic axis, 0 to 1.
  private func position(_ span: TimeSpan) -> Double {
    let value = Self.log2(max(0.0005, span.seconds))
    return min(1, max(0, (value - from) / (to - from)))
  }

  /// Within a hundredth, which is less than a pixel: the mantissa's logarithm by a parabola.
  private static func log2(_ value: Double) -> Double {
    let mantissa = value.significand
    return Double(value.exponent) + (-1.0 / 3 * mantissa + 2) * mantissa - 5.0 / 3
  }
}
