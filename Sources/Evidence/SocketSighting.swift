/// A socket on a watched port, with the inode by which its owner can be found.
public struct SocketSighting: Hashable, Codable, Sendable {
  public var role: Role
  public var local: Endpoint
  /// Nil for a listener.
  public var remote: Endpoint?
  public var inode: UInt64
  /// The network namespace's inode (`net:[…]`); nil when not known.
  public var namespace: UInt64?
  /// Connections that wait to be accepted, and how many may; listeners only.
  public var queued: UInt32?
  public var backlog: UInt32?

  public init(
    role: Role, local: Endpoint, remote: Endpoint? = nil, inode: UInt64, namespace: UInt64? = nil,
    queued: UInt32? = nil, backlog: UInt32? = nil
  ) {
    self.role = role
    self.local = local
    self.remote = remote
    self.inode = inode
    self.namespace = namespace
    self.queued = queued
    self.backlog = backlog
  }

  public enum Role: String, Hashable, Codable, Sendable {
    /// Accepts connections on an upstream's port.
    case listener
    /// The backend's end of a flow: its local port is an upstream's.
    case responder
    /// nginx's end of a flow: its remote port is an upstream's.
    case originator
  }
}
