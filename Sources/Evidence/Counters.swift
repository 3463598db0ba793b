/// Running totals of one source since it was opened: the books.
public struct Counters: Hashable, Codable, Sendable {
  /// The source, as `packets`, `kernel`, `errors`.
  public var source: String
  /// What was seen.
  public var seen: UInt64
  /// What was lost before upclose could look at it.
  public var lost: UInt64
  /// Named details, as `ring drops`, `not parsed`.
  public var details: [String: UInt64]

  public init(source: String, seen: UInt64, lost: UInt64, details: [String: UInt64] = [:]) {
    self.source = source
    self.seen = seen
    self.lost = lost
    self.details = details
  }
}
