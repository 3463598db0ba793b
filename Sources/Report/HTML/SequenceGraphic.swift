import Evidence

/// A sequence diagram as inline SVG: nginx on the left, the backend on the right, time downwards.
struct SequenceGraphic {
  private let sequence: SequenceSteps
  private let flow: Flow
  private let utcOffset: Int

  private static let width = 460
  private static let left = 118
  private static let right = 442
  private static let row = 30
  private static let head = 40

  init(_ sequence: SequenceSteps, flow: Flow, utcOffset: Int) {
    self.sequence = sequence
    self.flow = flow
    self.utcOffset = utcOffset
  }

  func render(into html: inout HTML) {
    let height = Self.head + sequence.steps.count * Self.row + 14
    html.element(
      "svg",
      [
        .class("sequence"), .init("viewBox", "0 0 \(Self.width) \(height)"),
        .init("role", "img"), .init("aria-label", "The last packets of the connection"),
      ]
    ) { html in
      for (x, name, endpoint, anchor) in [
        (Self.left, "nginx", flow.originator, "start"),
        (Self.right, "backend", flow.responder, "end"),
      ] {
        let textX = anchor == "start" ? x - 4 : x + 14
        text(name, textX, 13, anchor, "who", &html)
        text(endpoint.description, textX, 28, anchor, "numbers", &html)
        line(x, 34, x, height - 6, "life", &html)
      }
      var before: Timestamp?
      for (index, step) in sequence.steps.enumerated() {
        draw(step, y: Self.head + index * Self.row + 18, since: before, &html)
        before = step.time ?? before
      }
    }
    if let note = sequence.note { html.element("p", [.class("note")], note) }
  }

  private func draw(_ step: SequenceStep, y: Int, since: Timestamp?, _ html: inout HTML) {
    let (from, to) = step.isFromNginx ? (Self.left, Self.right) : (Self.right, Self.left)
    if let time = step.time {
      // The first with its clock, the others by what went by since.
      let clock = since.map { "+\(time - $0)" } ?? time.timeOfDay(offset: utcOffset, digits: 6)
      text(clock, 0, y + 4, "start", "clock", &html)
    } else {
      text("never", 0, y + 4, "start", "clock missing", &html)
    }
    html.element("g", [.class("step \(step.kind.rawValue)")]) { html in
      let head = step.isFromNginx ? -8 : 8
      line(from, y, to, y, "shaft", &html)
      if step.kind == .missing {
        let middle = (from + to) / 2
        line(middle - 5, y - 5, middle + 5, y + 5, "cross", &html)
        line(middle - 5, y + 5, middle + 5, y - 5, "cross", &html)
      } else {
        html.element(
          "path",
          [.class("head"), .init("d", "M\(to) \(y)l\(head) -4v8z")], "")
      }
      let middle = (Self.left + Self.right) / 2
      text(Self.shortened(step.label), middle, y - 4, "middle", "label", &html)
      if let numbers = step.numbers { text(numbers, middle, y + 11, "middle", "numbers", &html) }
    }
  }

  private static func shortened(_ label: String) -> String {
    label.count > 46 ? label.prefix(45) + "…" : label
  }

  private func text(
    _ text: String, _ x: Int, _ y: Int, _ anchor: String, _ name: String, _ html: inout HTML
  ) {
    html.element(
      "text",
      [
        .class(name), .init("x", "\(x)"), .init("y", "\(y)"), .init("text-anchor", anchor),
      ], text)
  }

  private func line(
    _ x1: Int, _ y1: Int, _ x2: Int, _ y2: Int, _ name: String, _ html: inout HTML
  ) {
    html.element(
      "line",
      [
        .class(name), .init("x1", "\(x1)"), .init("y1", "\(y1)"), .init("x2", "\(x2)"),
        .init("y2", "\(y2)"),
      ], "")
  }
}
