public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Connects to each watched endpoint once a second and closes again: the witness that says whether
/// the port was open at the moment of an error.
///
/// Yields `.port` for each check, with the address and port it was made from, so that its flow is
/// not taken for one of nginx's; and `.counters` (source `ports`) once a second. Its sockets belong
/// to the network namespace of the thread that calls `start`.
public final class PortProbe: Probe {
  public let name = "ports"
  private let host: String
  private let interval: TimeSpan
  private let timeout: TimeSpan
  private let targets: Mutex<[Endpoint]>
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - targets: what is probed.
  ///   - host: named in every observation.
  ///   - interval: between two checks of one target, at least 10 ms.
  ///   - timeout: how long an answer is waited for, at least 1 ms.
  public init(
    targets: some Sequence<Endpoint>, host: String = hostName(), interval: TimeSpan = .seconds(1),
    timeout: TimeSpan = .seconds(1)
  ) {
    self.targets = Mutex(Self.unique(targets))
    self.host = host
    self.interval = max(interval, .milliseconds(10))
    self.timeout = max(timeout, .milliseconds(1))
  }

  deinit { stop() }

  /// Replaces the targets, also while it runs; a check under way is still told.
  public func probe(_ targets: some Sequence<Endpoint>) {
    let new = Self.unique(targets)
    self.targets.withLock { $0 = new }
  }

  /// Nothing needs privileges.
  public func open() throws {}

  /// - Throws: `ProbeError` when there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    let (host, interval, timeout) = (host, interval, timeout)
    let started = try ProbeThread.start("upclose-ports") { [self] thread in
      var rounds = ProbeRounds(host: host, interval: interval, timeout: timeout, sink: sink)
      rounds.run(thread) { [self] in targets.withLock { $0 } }
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    running?.stop()
  }

  /// In order of the first mention.
  private static func unique(_ targets: some Sequence<Endpoint>) -> [Endpoint] {
    var seen: Set<Endpoint> = []
    return targets.filter { seen.insert($0).inserted }
  }
}
