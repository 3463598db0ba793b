public import Evidence

/// A measured length of time.
public struct Estimate: Hashable, Codable, Sendable {
  /// Median.
  public var value: TimeSpan
  /// From the smallest to the largest of the values that agree.
  public var spread: TimeSpan
  public var count: Int
}

/// A measured limit that is a number, as of requests on one connection.
public struct CountEstimate: Hashable, Codable, Sendable {
  public var value: Int
  /// How many ended at exactly that number.
  public var count: Int
  /// Of how many that were ended in the same way.
  public var of: Int
}

/// The size above which requests fail.
public struct SizeThreshold: Hashable, Codable, Sendable {
  /// Payload bytes of the largest request that was answered; nil: none was seen to be.
  public var largestAnswered: UInt64?
  /// Of the smallest that was not: the limit lies between the two, at any confidence, as long as all
  /// that is larger fails.
  public var smallestFailed: UInt64
  public var largestFailed: UInt64
  public var answered: Int
  public var failed: Int
  /// How likely all failed ones would be the larger by chance, did size not matter (exact: one in the
  /// number of ways to choose them).
  public var chance: Double
}
