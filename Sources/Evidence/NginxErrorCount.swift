/// Errors of one kind at one upstream that a log has too many of: counted, and not kept.
public struct NginxErrorCount: Hashable, Codable, Sendable {
  public var message: NginxMessage
  /// The peer, or the group of "no live upstreams"; nil when the lines name none.
  public var upstream: UpstreamPeer?
  /// Since the last such observation of them.
  public var count: UInt64
  /// The second that nginx stamped on the first of them, and on the last.
  public var first: Timestamp
  public var last: Timestamp
  /// The log they are from.
  public var path: String

  public init(
    message: NginxMessage, upstream: UpstreamPeer?, count: UInt64, first: Timestamp,
    last: Timestamp, path: String = ""
  ) {
    self.message = message
    self.upstream = upstream
    self.count = count
    self.first = first
    self.last = last
    self.path = path
  }
}
