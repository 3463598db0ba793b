/// How long the answers of one upstream took to begin, counted rather than told: whether it had grown
/// slow before it failed.
public struct ResponseTimes: Hashable, Codable, Sendable {
  public var responder: Endpoint
  /// Since the last such observation: how many answers began so long after the first byte of their
  /// request, by the index that `ReuseGaps.bucket(of:)` gives. Only what is not zero.
  public var counts: [Int: UInt64]

  public init(responder: Endpoint, counts: [Int: UInt64] = [:]) {
    self.responder = responder
    self.counts = counts
  }
}
