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
  /// Requests on one connection after which the backend closes it.
  public var requestLimit: CountEstimate?
  /// Age at which it ends a request.
  public var requestAge: Estimate?
  public var sizeThreshold: SizeThreshold?
  /// Requests that recycled workers had answered when they ended: the fewest, the median, the most.
  public var recycledAfter: [Int] = []
  /// What the fix would have done.
  public var whatIf: WhatIf?
  /// "no live upstreams" that these failures led to.
  public var ledTo = 0
  /// What else was seen of it, a clause each.
  public var notes: [String] = []
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
  /// What differs between the backends of a group.
  public var comparisons: [Comparison] = []
  /// The settings that were asked for, on each upstream.
  public var whatIf: [WhatIf] = []
}
