import Evidence

/// What the kernel counted, over time: a counter says nothing of one connection, yet whether it moved
/// in those seconds does.
struct NetworkCounts {
  private var totals: [String: UInt64] = [:]
  private var steps: [(from: Timestamp, to: Timestamp, name: String, count: UInt64)] = []
  private var lastLook: Timestamp?

  /// They were read.
  var isWatched: Bool { lastLook != nil }

  private static let mostSteps = 4000

  mutating func observe(_ counters: Counters, at time: Timestamp) {
    // The first says what happened since the session began, as all that follow.
    let from = lastLook ?? time - .seconds(2)
    for (name, value) in counters.details.sorted(by: { $0.key < $1.key }) {
      let before = totals[name] ?? 0
      if value > before { steps.append((from, time, name, value - before)) }
      totals[name] = value
    }
    lastLook = time
    if steps.count > Self.mostSteps { steps.removeFirst(Self.mostSteps / 2) }
  }

  /// By how much a counter moved within some seconds of a moment.
  func moved(_ name: String, near moment: TimeEstimate, within span: TimeSpan) -> UInt64 {
    steps.reduce(0) { sum, step in
      step.name == name && step.from - span <= moment.latest && moment.earliest <= step.to + span
        ? sum + step.count : sum
    }
  }

  /// How full the table of connection tracking is, 0 to 1; nil below half.
  var trackingLevel: Double? {
    guard let entries = totals["conntrack entries"], let maximum = totals["conntrack maximum"],
      maximum > 0
    else { return nil }
    return Double(entries) / Double(maximum)
  }
}
