/// What a process did to its end of a TCP connection (or to a listener) on a watched endpoint, as the
/// kernel saw it while that process ran: it needs no sampling, so the shortest connection has an owner.
///
/// Only what a process itself did is told. What the kernel did for a packet or a timer runs in the
/// context of whatever process was interrupted, and names nobody.
public struct SocketAct: Hashable, Codable, Sendable {
  public var act: Act
  public var role: SocketSighting.Role
  public var local: Endpoint
  /// Nil for a listener.
  public var remote: Endpoint?
  public var process: ProcessIdentity
  /// It was ending, by an exit or by a signal, and the kernel closed what it held.
  public var isExiting: Bool

  public init(
    act: Act, role: SocketSighting.Role, local: Endpoint, remote: Endpoint? = nil,
    process: ProcessIdentity, isExiting: Bool = false
  ) {
    self.act = act
    self.role = role
    self.local = local
    self.remote = remote
    self.process = process
    self.isExiting = isExiting
  }

  public enum Act: String, Hashable, Codable, Sendable {
    /// Sent the SYN.
    case connect
    /// Began to accept connections on the port.
    case listen
    /// Sent the FIN (`close` or `shutdown`); of a listener: accepts no more.
    case close
  }

  /// The flow that it belongs to; nil for a listener.
  public var flow: Flow? {
    guard let remote else { return nil }
    switch role {
    case .originator: return Flow(originator: local, responder: remote)
    case .responder: return Flow(originator: remote, responder: local)
    case .listener: return nil
    }
  }
}
