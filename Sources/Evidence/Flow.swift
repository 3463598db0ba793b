/// A client endpoint and a server endpoint: nginx, the *originator*, and the backend, the
/// *responder*. A flow's tuple may be reused; a `Connection` is one life of it.
public struct Flow: Hashable, Codable, Sendable, CustomStringConvertible {
  /// Who sent the SYN: nginx.
  public var originator: Endpoint
  /// Who answered it: the backend.
  public var responder: Endpoint

  public init(originator: Endpoint, responder: Endpoint) {
    self.originator = originator
    self.responder = responder
  }

  public var description: String { "\(originator) -> \(responder)" }
}
