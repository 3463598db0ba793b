public import Evidence

/// What was counted for one upstream server.
public struct UpstreamStatistics: Hashable, Codable, Sendable {
  public var upstream: String
  /// The group it belongs to.
  public var group: String?
  public var connectionsEnded: Int = 0
  public var refused: Int = 0
  /// Closed by the backend while idle: healthy, by itself.
  public var idleCloses: Int = 0
  /// Closed by the backend while a request was unanswered or its answer unfinished.
  public var abnormalCloses: Int = 0
  public var resets: Int = 0
  public var nginxCloses: Int = 0
  public var errors: Int = 0
  /// Errors by cause.
  public var causes: [String: Int] = [:]
  public var checks: Int = 0
  public var checksOpen: Int = 0
  /// Idle time after which the backend closes.
  public var idleTimeout: Estimate?
  /// Processes seen behind it, as `pid 3434 (app)`.
  public var processes: [String] = []
  /// Closes by the backend that no nginx error explains (retried silently, or not nginx's).
  public var unexplainedCloses: Int = 0
  /// What the access log says of it; nil without one.
  public var traffic: UpstreamTraffic?
  /// Requests after which the backend closes a connection.
  public var requestLimit: CountEstimate?
  /// Age at which it ends a request.
  public var requestAge: Estimate?
  /// Size above which it closes without an answer.
  public var sizeThreshold: SizeThreshold?
  /// Connections that were open at once, at most, of those that ended; nil: none did.
  public var mostOpen: Int?
  /// Idle connections that nginx closed before its own keepalive_timeout and keepalive_requests: its
  /// pool was full.
  public var evicted: Int?
  /// Requests that reused a connection, as far as they were counted.
  public var reuses: UInt64 = 0
}
