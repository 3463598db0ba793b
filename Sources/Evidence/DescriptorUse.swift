/// How many descriptors a watched process holds, and how many it may: told when it is more than half,
/// while it grows, and when it has fallen below half again.
public struct DescriptorUse: Hashable, Codable, Sendable {
  public var process: ProcessIdentity
  public var used: UInt64
  /// The soft limit (RLIMIT_NOFILE).
  public var limit: UInt64

  public init(process: ProcessIdentity, used: UInt64, limit: UInt64) {
    self.process = process
    self.used = used
    self.limit = limit
  }

  public var isHigh: Bool { used > limit / 2 }
}
