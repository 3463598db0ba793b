public import Evidence

/// One observation's bearing on one cause.
public struct EvidenceItem: Hashable, Codable, Sendable {
  /// `nginx`, `packets`, `kernel`, `processes`, `ports` or `configuration`.
  public var source: String
  /// One clause that a person can check.
  public var text: String
  /// 10 log10 of the likelihood ratio for the cause: positive speaks for it.
  public var decibans: Double
  public var time: Timestamp?

  public init(_ source: String, _ text: String, decibans: Double, time: Timestamp? = nil) {
    self.source = source
    self.text = text
    self.decibans = decibans
    self.time = time
  }
}

/// The causes of an incident, ranked.
public struct Verdict: Hashable, Codable, Sendable {
  public var cause: CauseID
  /// 0 to 1, over all causes and `unknown`.
  public var probability: Double
  /// The other causes at 1 % or more, likeliest first.
  public var rivals: [Rival]

  public struct Rival: Hashable, Codable, Sendable {
    public var cause: CauseID
    public var probability: Double
  }
}

/// What to change: a directive and its value where one helps, else what to do.
public struct Fix: Hashable, Codable, Sendable {
  /// As `keepalive_timeout`; nil when no directive of nginx helps.
  public var directive: String?
  /// As `4s`.
  public var value: String?
  /// Where it goes, as `upstream "pair" (/etc/nginx/nginx.conf:31)`.
  public var place: String?
  /// One sentence.
  public var text: String
  /// What it costs; nil when nothing.
  public var tradeOff: String?

  public init(
    directive: String? = nil, value: String? = nil, place: String? = nil, text: String,
    tradeOff: String? = nil
  ) {
    self.directive = directive
    self.value = value
    self.place = place
    self.text = text
    self.tradeOff = tradeOff
  }
}
