public import Evidence

/// One nginx upstream error and all that explains it.
public struct Incident: Hashable, Codable, Sendable {
  /// From 1, in order of the errors.
  public var id: Int
  /// From 1; the same incident is given again with a higher revision when more is known.
  public var revision: Int
  public var time: TimeEstimate
  /// nginx's words, with errno and ` while ` clause.
  public var message: String
  public var kind: NginxMessage
  public var worker: Int32
  public var nginxConnection: UInt64?
  public var upstream: String?
  public var request: String?
  /// From the access log; nil without one.
  public var clientStatus: Int?
  /// Whether nginx tried another peer; nil when not known.
  public var retried: Bool?
  public var close: Close?
  public var match: Match
  public var verdict: Verdict
  /// For and against the verdict's cause, strongest first.
  public var evidence: [EvidenceItem]
  /// What was looked for and not found.
  public var ruledOut: [String]
  public var fix: Fix?
  /// The incidents that led to this one (disabled peers).
  public var roots: [Int]
  /// What nginx did afterwards; nil when nothing is known of it.
  public var aftermath: Aftermath?
  /// Later incidents that this one led to: "no live upstreams" while it disabled its peer. Filled in the
  /// summary; the first hundred.
  public var ledTo: [Int] = []
  /// How many they are.
  public var ledToCount = 0

  /// The TCP close behind the error.
  public struct Close: Hashable, Codable, Sendable {
    public var flow: Flow
    public var closer: Closer
    public var manner: Manner?
    public var phase: Phase
    public var time: Timestamp?
    public var connState: ConnState
    public var history: String
    public var requestDelivery: RequestDelivery
    public var idleBeforeClose: TimeSpan?
    public var exchanges: Int?
    /// The backend's process that owned the connection, where it is on this host.
    public var owner: ProcessIdentity?
    /// From the first byte of the failed request to the close; nil without one.
    public var requestAge: TimeSpan?
    /// The packet probe's number of the connection.
    public var connection: UInt64
  }

  /// How the close was found.
  public struct Match: Hashable, Codable, Sendable {
    /// Probability that this close is the right one (or, without a close, that there is none); 0 to 1.
    public var confidence: Double
    /// Closes that could have been it.
    public var candidates: Int
    /// Why there is no close; nil when there is one.
    public var unmatchedBecause: String?
  }
}
