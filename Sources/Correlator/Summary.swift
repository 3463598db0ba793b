public import Evidence

/// The same cause on the same upstream: how often, and what to change.
public struct Finding: Hashable, Codable, Sendable {
  public var cause: CauseID
  public var upstream: String
  public var errors: Int
  /// Of all errors of this upstream.
  public var ofErrors: Int
  public var first: Timestamp
  public var last: Timestamp
  /// The sentence that matters.
  public var text: String
  public var fix: Fix?
  public var idleTimeout: Estimate?
}

/// What was seen, matched and lost.
public struct Books: Hashable, Codable, Sendable {
  public var errors = 0
  public var matched = 0
  /// Matched, but another close fits nearly as well (confidence below 0.9).
  public var ambiguous = 0
  public var unmatched = 0
  /// Reasons of the unmatched, with their counts.
  public var unmatchedBecause: [String: Int] = [:]
  /// Closes by a backend in the middle of an exchange that no error explains.
  public var unexplainedCloses = 0
  /// Incidents whose details were dropped to bound memory (they are counted).
  public var incidentsDropped = 0
  /// Of each source: seen and lost.
  public var sources: [Counters] = []
}

/// Everything that a report shows at the end.
public struct Summary: Hashable, Codable, Sendable {
  public var started: Timestamp?
  public var ended: Timestamp?
  public var incidents: [Incident]
  public var findings: [Finding]
  public var upstreams: [UpstreamStatistics]
  public var books: Books
  public var blindSpots: [BlindSpot]
}
