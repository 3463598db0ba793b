/// When something happened, and how well that is known.
///
/// The true time lies within `earliest ... latest`; `best` is the likeliest moment in it. The bounds
/// matter as much as the moment: nginx stamps its errors with a cached second, the kernel's log
/// carries a clock that nobody disciplines, and only packets come with nanoseconds.
public struct TimeEstimate: Hashable, Codable, Sendable {
  public var best: Timestamp
  public var earliest: Timestamp
  public var latest: Timestamp

  public init(best: Timestamp, earliest: Timestamp, latest: Timestamp) {
    self.best = best
    self.earliest = min(earliest, best)
    self.latest = max(latest, best)
  }

  private enum CodingKeys: String, CodingKey { case best, earliest, latest }

  /// Bounds that are not there are the moment itself: most times are exact.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let best = try container.decode(Timestamp.self, forKey: .best)
    self.init(
      best: best,
      earliest: try container.decodeIfPresent(Timestamp.self, forKey: .earliest) ?? best,
      latest: try container.decodeIfPresent(Timestamp.self, forKey: .latest) ?? best)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(best, forKey: .best)
    if earliest != best { try container.encode(earliest, forKey: .earliest) }
    if latest != best { try container.encode(latest, forKey: .latest) }
  }

  /// A time known exactly, as a packet's.
  public init(exactly time: Timestamp) {
    self.init(best: time, earliest: time, latest: time)
  }

  /// A time known to within `uncertainty` on either side.
  public init(_ time: Timestamp, within uncertainty: TimeSpan) {
    self.init(best: time, earliest: time - uncertainty, latest: time + uncertainty)
  }

  /// The gap between two estimates: zero where they may have been the same moment.
  public func distance(to other: TimeEstimate) -> TimeSpan {
    if latest < other.earliest { return other.earliest - latest }
    if other.latest < earliest { return earliest - other.latest }
    return .zero
  }
}
