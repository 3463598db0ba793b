public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Follows the kernel's log (`/dev/kmsg`): out-of-memory kills, faults, and a network in trouble.
///
/// Yields `.kernel` for each, `.counters` (source `kernel`) once a second when something was read,
/// and `.blindSpot` when records were overwritten before they could be read. Only what the kernel
/// itself wrote is believed: a program's record carries a facility other than 0.
public final class KernelProbe: Probe {
  public let name = "kernel"
  private let path: String
  private let host: String
  private let history: TimeSpan?
  private let proc: String
  private let descriptor = Mutex<Int32>(-1)
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - path: the device, or a copy of what it gave.
  ///   - host: named in every observation.
  ///   - includeHistory: how far back records that are already in the log are told; nil: only new
  ///     ones.
  ///   - proc: where the process table is mounted.
  public init(
    path: String = "/dev/kmsg", host: String = hostName(),
    includeHistory: TimeSpan? = .seconds(60), proc: String = "/proc"
  ) {
    self.path = path
    self.host = host
    history = includeHistory
    self.proc = proc
  }

  deinit { stop() }

  /// - Throws: `ProbeError` without the device or the permission (CAP_SYSLOG where
  ///   `kernel.dmesg_restrict` is 1; it is needed for opening only).
  public func open() throws {
    let opened = Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard opened >= 0 else {
      let reason = errno
      let remedy: String? =
        switch reason {
        case EPERM, EACCES: "run as root, or grant CAP_SYSLOG (kernel.dmesg_restrict is set)"
        case ENOENT, ENXIO: "run on the host itself, or hand \(path) into the container"
        default: nil
        }
      throw ProbeError(doing: "open \(path)", reason: errorText(reason), remedy: remedy)
    }
    if history == nil { lseek(opened, 0, SEEK_END) }
    let previous = descriptor.withLock { descriptor in
      defer { descriptor = opened }
      return descriptor
    }
    if previous >= 0 { close(previous) }
  }

  /// - Throws: `ProbeError` when it was not opened, or there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    let opened = descriptor.withLock { $0 }
    guard opened >= 0 else {
      throw ProbeError(doing: "follow \(path)", reason: "it was not opened")
    }
    let (host, path, history, proc) = (host, path, history, proc)
    let started = try ProbeThread.start("upclose-kernel") { thread in
      var follower = KmsgFollower(
        descriptor: opened, path: path, host: host, history: history, proc: proc, sink: sink)
      follower.run(thread)
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    running?.stop()
    let opened = descriptor.withLock { descriptor in
      defer { descriptor = -1 }
      return descriptor
    }
    if opened >= 0 { close(opened) }
  }

  /// What a session loses when this probe could not be opened.
  public static func blindSpot(_ error: ProbeError) -> BlindSpot {
    BlindSpot(
      id: "kernel-log", what: "the kernel's log was not read: \(error.reason)",
      cost: "an out-of-memory kill or a crash looks like a close by the application",
      remedy: error.remedy)
  }
}
