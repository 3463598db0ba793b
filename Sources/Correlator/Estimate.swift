public import Evidence

/// A measured quantity.
public struct Estimate: Hashable, Codable, Sendable {
  /// Median.
  public var value: TimeSpan
  /// From the 5th to the 95th percentile.
  public var spread: TimeSpan
  public var count: Int
}
