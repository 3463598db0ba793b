import CLinux
public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Connects to each watched endpoint once a second and closes again: the witness that says whether
/// the port was open at the moment of an error. Asks each endpoint once whether it speaks TLS.
///
/// Yields `.port` for each check, with the address and port it was made from, so that its flow is
/// not taken for one of nginx's; and `.counters` (source `ports`) once a second. Its sockets belong
/// to the network namespace of the thread that calls `start`.
public final class PortProbe: Probe {
  public let name = "ports"
  private let host: String
  private let interval: TimeSpan
  private let timeout: TimeSpan
  private let wishes: Mutex<Wishes>
  /// Becomes readable when there is a new wish.
  private let wished: Int32
  private let thread = Mutex<ProbeThread?>(nil)

  /// What the session wants of the prober's thread.
  struct Wishes {
    var targets: [Endpoint]
    var hurried: [Endpoint] = []
  }

  /// - Parameters:
  ///   - targets: what is probed.
  ///   - host: named in every observation.
  ///   - interval: between two checks of one target, at least 10 ms.
  ///   - timeout: how long an answer is waited for, at least 1 ms.
  public init(
    targets: some Sequence<Endpoint>, host: String = hostName(), interval: TimeSpan = .seconds(1),
    timeout: TimeSpan = .seconds(1)
  ) {
    wishes = Mutex(Wishes(targets: Self.unique(targets)))
    self.host = host
    self.interval = max(interval, .milliseconds(10))
    self.timeout = max(timeout, .milliseconds(1))
    wished = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  }

  deinit {
    stop()
    close(wished)
  }

  /// Replaces the targets, also while it runs; a check under way is still told.
  public func probe(_ targets: some Sequence<Endpoint>) {
    let new = Self.unique(targets)
    wishes.withLock { $0.targets = new }
    wake()
  }

  /// Something went wrong there: checks it at once, and ten times a second for the next five seconds.
  /// One that is no target is left alone.
  public func hurry(_ target: Endpoint) {
    wishes.withLock { wishes in
      if wishes.hurried.count < 1000, !wishes.hurried.contains(target) {
        wishes.hurried.append(target)
      }
    }
    wake()
  }

  private func wake() {
    var one: UInt64 = 1
    _ = write(wished, &one, 8)
  }

  /// Nothing needs privileges.
  public func open() throws {}

  /// - Throws: `ProbeError` when there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    let (host, interval, timeout, wished) = (host, interval, timeout, wished)
    let started = try ProbeThread.start("upclose-ports") { [self] thread in
      do {
        var schedule = try PortSchedule(
          host: host, interval: interval, timeout: timeout, sink: sink)
        schedule.run(thread, wished: wished) { [self] in
          wishes.withLock { wishes in
            defer { wishes.hurried = [] }
            return wishes
          }
        }
      } catch {
        let spot = BlindSpot(
          id: "ports", what: "the ports could not be probed: \(error)",
          cost: "whether they were open at the time of an error is not known")
        sink(
          Observation(
            host: host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot)))
      }
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
