/// One TCP connect to a port.
public struct PortCheck: Hashable, Codable, Sendable {
  public var target: Endpoint
  public var outcome: Outcome
  /// SYN to SYN-ACK, where there was one.
  public var connectTime: TimeSpan?
  /// What said no, and how, for all but `open`.
  public var reason: String?
  /// The address and port from which it was made: this flow needs no explanation.
  public var source: Endpoint?
  /// Whether a TLS ClientHello was answered in TLS; nil: not asked, or no answer that decides it.
  public var speaksTLS: Bool?

  public init(
    target: Endpoint, outcome: Outcome, connectTime: TimeSpan? = nil, reason: String? = nil,
    source: Endpoint? = nil, speaksTLS: Bool? = nil
  ) {
    self.target = target
    self.outcome = outcome
    self.connectTime = connectTime
    self.reason = reason
    self.source = source
    self.speaksTLS = speaksTLS
  }

  public enum Outcome: String, Hashable, Codable, Sendable, CaseIterable {
    case open
    case refused
    case timeout
    case unreachable
    /// Accepted, then reset at once.
    case reset
    /// Accepted, then closed at once.
    case closed
  }
}
