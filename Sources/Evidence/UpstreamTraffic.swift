/// What an access log says of one upstream so far: running totals, like `Counters`.
public struct UpstreamTraffic: Hashable, Codable, Sendable {
  public var upstream: UpstreamPeer
  /// Every try, the failed ones included.
  public var tries: UInt64
  /// Those with the status 502 or 504.
  public var failures: UInt64
  /// Failures behind which another try succeeded: no client saw them.
  public var hidden: UInt64
  public var connectTime: Quantiles?
  public var headerTime: Quantiles?
  public var responseTime: Quantiles?
  /// Bytes of the client's request (`$request_length`), where the try succeeded and where it failed.
  public var succeededRequestBytes: Quantiles?
  public var failedRequestBytes: Quantiles?

  public init(
    upstream: UpstreamPeer, tries: UInt64 = 0, failures: UInt64 = 0, hidden: UInt64 = 0,
    connectTime: Quantiles? = nil, headerTime: Quantiles? = nil, responseTime: Quantiles? = nil,
    succeededRequestBytes: Quantiles? = nil, failedRequestBytes: Quantiles? = nil
  ) {
    self.upstream = upstream
    self.tries = tries
    self.failures = failures
    self.hidden = hidden
    self.connectTime = connectTime
    self.headerTime = headerTime
    self.responseTime = responseTime
    self.succeededRequestBytes = succeededRequestBytes
    self.failedRequestBytes = failedRequestBytes
  }
}

/// A distribution in a few numbers: seconds for times, else the quantity's own unit.
public struct Quantiles: Hashable, Codable, Sendable {
  public var count: UInt64
  /// Each within 1 % of the true value.
  public var p50: Double
  public var p95: Double
  public var p99: Double
  public var largest: Double

  public init(count: UInt64, p50: Double, p95: Double, p99: Double, largest: Double) {
    self.count = count
    self.p50 = p50
    self.p95 = p95
    self.p99 = p99
    self.largest = largest
  }
}
