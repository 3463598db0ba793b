/// Who a process is. A pid alone is reused; with its start time it is not.
public struct ProcessIdentity: Hashable, Codable, Sendable {
  public var pid: Int32
  /// The kernel's comm: at most 15 bytes.
  public var command: String
  public var parent: Int32?
  /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
  public var startTicks: UInt64?
  /// The program's path (`/proc/PID/exe`).
  public var executable: String?
  /// Memory or unified cgroup path, as `/system.slice/app.service`.
  public var cgroup: String?
  /// Soft limit of open descriptors.
  public var descriptorLimit: UInt64?
  /// The systemd unit that it belongs to, as `app.service`.
  public var unit: String?
  /// The id of its container (docker, containerd, CRI-O, podman), or the name of its machine (LXC).
  public var container: String?

  public init(
    pid: Int32, command: String, parent: Int32? = nil, startTicks: UInt64? = nil,
    executable: String? = nil, cgroup: String? = nil, descriptorLimit: UInt64? = nil,
    unit: String? = nil, container: String? = nil
  ) {
    self.pid = pid
    self.command = command
    self.parent = parent
    self.startTicks = startTicks
    self.executable = executable
    self.cgroup = cgroup
    self.descriptorLimit = descriptorLimit
    self.unit = unit
    self.container = container
  }
}

/// A process holds these sockets (inodes that the socket probe named); only what is new since the
/// last sighting of the same process.
public struct ProcessSighting: Hashable, Codable, Sendable {
  public var process: ProcessIdentity
  public var inodes: [UInt64]

  public init(process: ProcessIdentity, inodes: [UInt64]) {
    self.process = process
    self.inodes = inodes
  }
}

/// A watched process is gone.
public struct ProcessExit: Hashable, Codable, Sendable {
  public var process: ProcessIdentity
  /// Exit code 0 to 255; nil when a signal ended it, or when the kernel does not say.
  public var code: Int32?
  /// The signal that ended it; nil when it exited, or when the kernel does not say.
  public var signal: Int32?

  public init(process: ProcessIdentity, code: Int32? = nil, signal: Int32? = nil) {
    self.process = process
    self.code = code
    self.signal = signal
  }
}
