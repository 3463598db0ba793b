public import Evidence

/// One lane of the timeline: marks in the order of time, bounded. When there are too many, neighbours
/// are drawn as one mark with their number; none is ever left out of the count.
public struct Lane: Sendable {
  /// How bad a mark is; the worst of a crowd gives it its colour and its words.
  public enum Weight: Int, Comparable, Sendable, CaseIterable {
    /// Healthy, or merely worth knowing.
    case quiet
    case notable
    case bad

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  /// One mark, or several that are too close to tell apart.
  public struct Mark: Sendable {
    public var first: Timestamp
    public var last: Timestamp
    public var count: Int
    public var weight: Weight
    /// Of the first of the worst.
    public var text: String
    /// The incident that it stands for, where that is one.
    public var incident: Int?
  }

  /// Marks that are kept apart.
  public static let limit = 600

  private var buckets: [Int64: Mark] = [:]
  /// Nanoseconds that one mark stands for; doubled when there are too many.
  private var width: Int64 = 1_000_000

  public init() {}

  public var isEmpty: Bool { buckets.isEmpty }
  public var count: Int { buckets.values.reduce(0) { $0 + $1.count } }
  public var marks: [Mark] { buckets.values.sorted { $0.first < $1.first } }

  /// - Parameters:
  ///   - count: of them, at that time.
  ///   - text: asked for only when it will be shown.
  mutating func add(
    at time: Timestamp, _ weight: Weight, incident: Int? = nil, count: Int = 1,
    _ text: @autoclosure () -> String
  ) {
    let key = index(of: time)
    if buckets[key] != nil {
      let isWorse = buckets[key].map { weight > $0.weight } ?? true
      buckets[key]?.merge(time, weight, incident, count, isWorse ? text() : nil)
      return
    }
    buckets[key] = Mark(
      first: time, last: time, count: count, weight: weight, text: text(), incident: incident)
    while buckets.count > Self.limit { coarsen() }
  }

  private func index(of time: Timestamp) -> Int64 {
    let (quotient, rest) = time.nanoseconds.quotientAndRemainder(dividingBy: width)
    return rest < 0 ? quotient - 1 : quotient
  }

  private mutating func coarsen() {
    guard width < .max / 2 else { return }
    width *= 2
    var merged: [Int64: Mark] = [:]
    for mark in marks {
      let key = index(of: mark.first)
      if merged[key] == nil { merged[key] = mark } else { merged[key]?.merge(mark) }
    }
    buckets = merged
  }
}

extension Lane.Mark {
  fileprivate mutating func merge(
    _ time: Timestamp, _ weight: Lane.Weight, _ incident: Int?, _ count: Int,
    _ worse: String?
  ) {
    first = min(first, time)
    last = max(last, time)
    self.count += count
    if let worse {
      text = worse
      self.weight = weight
      self.incident = incident
    }
  }

  fileprivate mutating func merge(_ other: Self) {
    first = min(first, other.first)
    last = max(last, other.last)
    count += other.count
    if other.weight > weight {
      weight = other.weight
      text = other.text
      incident = other.incident
    }
  }
}
