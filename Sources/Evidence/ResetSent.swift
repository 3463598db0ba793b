/// This host's kernel sent a reset for a watched endpoint (the tracepoint tcp/tcp_send_reset).
///
/// Kernels before 6.10 tell neither the reason nor the resets of sockets that are gone (Linux
/// net/ipv4/tcp_ipv4.c `tcp_v4_send_reset`, include/net/rstreason.h).
public struct ResetSent: Hashable, Codable, Sendable {
  /// The end that sent it.
  public var local: Endpoint
  /// Nil where the kernel does not say: a listener was asked about a connection that it does not know.
  public var remote: Endpoint?
  /// Of the end that sent it.
  public var role: SocketSighting.Role
  /// As `TCP_ABORT_ON_CLOSE`; nil where the kernel has no reasons.
  public var reason: String?
  /// The socket's state, as `TCP_CLOSE`; nil when there was no socket.
  public var state: String?
  /// Who caused it, where a process did; nil when a packet or a timer did.
  public var process: ProcessIdentity?
  /// That process was ending, and the kernel closed what it held.
  public var isExiting: Bool

  public init(
    local: Endpoint, remote: Endpoint? = nil, role: SocketSighting.Role, reason: String? = nil,
    state: String? = nil, process: ProcessIdentity? = nil, isExiting: Bool = false
  ) {
    self.local = local
    self.remote = remote
    self.role = role
    self.reason = reason
    self.state = state
    self.process = process
    self.isExiting = isExiting
  }

  /// The flow that it ended; nil where the kernel names no peer.
  public var flow: Flow? {
    guard let remote else { return nil }
    return role == .originator
      ? Flow(originator: local, responder: remote) : Flow(originator: remote, responder: local)
  }
}
