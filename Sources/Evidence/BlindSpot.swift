/// What this session could not see, and what that costs.
public struct BlindSpot: Hashable, Codable, Sendable {
  /// Stable identifier, as `kernel-log`, `remote-backend`, `unix-socket`.
  public var id: String
  /// What was not seen, in one clause.
  public var what: String
  /// What the verdicts lose by it, in one clause.
  public var cost: String
  /// What to do about it; nil when nothing can be done.
  public var remedy: String?

  public init(id: String, what: String, cost: String, remedy: String? = nil) {
    self.id = id
    self.what = what
    self.cost = cost
    self.remedy = remedy
  }
}
