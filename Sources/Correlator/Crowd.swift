import Evidence

/// A sample of lengths of time, and the one that they crowd around, if they do: what a timer makes.
/// Scattered lengths are no limit.
struct Crowd: Sendable {
  /// How far from each other values may be and still agree: a tenth of the smallest, or this.
  var width: TimeSpan
  /// Shorter ones are no timer of a backend.
  var shortest: TimeSpan

  private var values: [TimeSpan] = []
  private var sinceEstimate = 0
  private(set) var estimate: Estimate?

  init(width: TimeSpan = .milliseconds(200), shortest: TimeSpan = .milliseconds(100)) {
    self.width = width
    self.shortest = shortest
  }

  /// The estimate from all values, the last ones too: for the end, when it is asked for once.
  var latest: Estimate? { sinceEstimate == 0 ? estimate : crowded() }

  /// All that were added and are not forgotten.
  var count: Int { values.count }

  mutating func add(_ value: TimeSpan) {
    values.append(value)
    sinceEstimate += 1
    // Every error asks for it; with many values an eighth more changes little, and sorting them for
    // each close of a busy upstream would cost more than all else.
    if sinceEstimate > values.count / 8 || values.count < 50 {
      estimate = crowded()
      sinceEstimate = 0
    }
    if values.count > 2000 { values.removeFirst(1000) }
  }

  /// Closes that come sooner have other reasons (a process that ended, a deploy), so at least three,
  /// and half of all, must agree.
  private func crowded() -> Estimate? {
    let sorted = values.sorted()
    var best = 0..<0
    var end = 0
    for start in sorted.indices {
      let first = sorted[start]
      let width = max(self.width, TimeSpan(nanoseconds: first.nanoseconds / 10))
      end = max(end, start)
      while end < sorted.count, sorted[end] - first <= width { end += 1 }
      // Of equal crowds the longer: nothing outlives a limit.
      if end - start >= best.count { best = start..<end }
    }
    guard best.count >= 3, best.count * 2 >= sorted.count else { return nil }
    let crowd = sorted[best]
    let median = crowd[best.lowerBound + best.count / 2]
    guard median > shortest else { return nil }
    let spread = crowd[best.upperBound - 1] - crowd[best.lowerBound]
    return Estimate(value: median, spread: spread, count: best.count)
  }
}
