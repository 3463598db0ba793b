/// A UNIX stream socket at a path that nginx names as `unix:PATH`: no packet of it is ever seen, so
/// its owner and its queue are all that can be known.
public struct UnixSocketSighting: Hashable, Codable, Sendable {
  public var role: SocketSighting.Role
  /// As nginx writes it.
  public var path: String
  public var inode: UInt64
  /// The other end's inode; nil for a listener.
  public var peer: UInt64?
  /// The network namespace's inode, to which UNIX sockets belong too; nil when not known.
  public var namespace: UInt64?
  /// Connections that wait to be accepted, and how many may; listeners only.
  public var queued: UInt32?
  public var backlog: UInt32?

  public init(
    role: SocketSighting.Role, path: String, inode: UInt64, peer: UInt64? = nil,
    namespace: UInt64? = nil, queued: UInt32? = nil, backlog: UInt32? = nil
  ) {
    self.role = role
    self.path = path
    self.inode = inode
    self.peer = peer
    self.namespace = namespace
    self.queued = queued
    self.backlog = backlog
  }
}
