/// Connections of one upstream that ended in the ordinary way and were only counted: when hundreds end
/// each second, to tell each one would cost more than to watch it.
public struct OrdinaryCloses: Hashable, Codable, Sendable {
  public var responder: Endpoint
  /// Since the last such observation. First FIN from the backend, while idle.
  public var byResponder: Int
  /// First FIN from nginx, while idle.
  public var byOriginator: Int
  /// Ended by FINs; in what phase was not captured.
  public var inUnknownPhase: Int

  public init(
    responder: Endpoint, byResponder: Int = 0, byOriginator: Int = 0, inUnknownPhase: Int = 0
  ) {
    self.responder = responder
    self.byResponder = byResponder
    self.byOriginator = byOriginator
    self.inUnknownPhase = inUnknownPhase
  }
}
