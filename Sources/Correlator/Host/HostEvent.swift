public import Evidence

/// Something that went wrong on a backend's host, or ended there, told without any nginx beside it.
public struct HostEvent: Hashable, Sendable {
  public var time: TimeEstimate
  public var kind: Kind
  /// Whose backend it is about; nil for the host as a whole.
  public var endpoint: Endpoint?
  public var process: ProcessIdentity?
  /// The connection that ended, where it is about one.
  public var connection: Connection?
  /// In one sentence, with the numbers that prove it.
  public var text: String

  public init(
    time: TimeEstimate, kind: Kind, endpoint: Endpoint? = nil, process: ProcessIdentity? = nil,
    connection: Connection? = nil, text: String
  ) {
    self.time = time
    self.kind = kind
    self.endpoint = endpoint
    self.process = process
    self.connection = connection
    self.text = text
  }

  /// Stable identifiers.
  public enum Kind: String, Hashable, Sendable {
    case oomKill = "oom-kill"
    case crash
    /// Its own master ended it, having lost patience with its request.
    case masterTimeout = "master-timeout"
    /// Its own master ended it by force.
    case killedByMaster = "killed-by-master"
    /// Another process ended it.
    case killed
    /// The service was stopped or restarted: by systemd, a container's runtime, or through its master.
    case stopped
    /// A worker ended by plan, and its master lives on.
    case recycled = "worker-recycle"
    case exited
    /// It became another program, keeping its sockets.
    case replaced
    /// Another process listens on the port than did before.
    case restarted
    /// A connection ended as none should.
    case close
    /// A connection was reset at its first packet.
    case refused
    /// The kernel's log.
    case kernel
    /// The backend's own log.
    case log
    case queueFull = "queue-full"
    case descriptors
  }

  /// Whether it explains failures that others see; the rest is context.
  public var isFailure: Bool {
    switch kind {
    case .oomKill, .crash, .masterTimeout, .killedByMaster, .killed, .exited, .close, .refused,
      .queueFull, .descriptors:
      true
    case .stopped, .recycled, .replaced, .restarted, .kernel, .log: false
    }
  }
}
