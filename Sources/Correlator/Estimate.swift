public import Evidence

/// A measured quantity.
public struct Estimate: Hashable, Codable, Sendable {
  /// Median.
  public var value: TimeSpan
  /// From the smallest to the largest of the values that agree.
  public var spread: TimeSpan
  public var count: Int
}
