/// The kernel let go of a TCP socket of a watched endpoint (NETLINK_SOCK_DIAG's destroy multicast),
/// with its last words (Linux include/uapi/linux/tcp.h `struct tcp_info`).
public struct SocketDeath: Hashable, Codable, Sendable {
  public var role: SocketSighting.Role
  public var local: Endpoint
  public var remote: Endpoint
  /// The network namespace's inode; nil when not known.
  public var namespace: UInt64?
  /// Payload that the peer's kernel acknowledged, with one for the FIN; nil on old kernels.
  public var bytesAcknowledged: UInt64?
  /// Payload that was received from the peer.
  public var bytesReceived: UInt64?
  /// How long before its end it last sent data; nil when it never did.
  public var sinceDataSent: TimeSpan?
  /// How long before its end it last received data; nil when it never did.
  public var sinceDataReceived: TimeSpan?
  /// Smoothed round-trip time.
  public var rtt: TimeSpan?
  /// Segments that were sent again.
  public var retransmissions: UInt32?

  public init(
    role: SocketSighting.Role, local: Endpoint, remote: Endpoint, namespace: UInt64? = nil,
    bytesAcknowledged: UInt64? = nil, bytesReceived: UInt64? = nil,
    sinceDataSent: TimeSpan? = nil, sinceDataReceived: TimeSpan? = nil, rtt: TimeSpan? = nil,
    retransmissions: UInt32? = nil
  ) {
    self.role = role
    self.local = local
    self.remote = remote
    self.namespace = namespace
    self.bytesAcknowledged = bytesAcknowledged
    self.bytesReceived = bytesReceived
    self.sinceDataSent = sinceDataSent
    self.sinceDataReceived = sinceDataReceived
    self.rtt = rtt
    self.retransmissions = retransmissions
  }

  public var flow: Flow {
    role == .originator
      ? Flow(originator: local, responder: remote) : Flow(originator: remote, responder: local)
  }
}
