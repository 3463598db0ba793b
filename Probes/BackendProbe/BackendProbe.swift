import CLinux
public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Follows the backends' own logs: those that are named, and those that the processes behind the
/// upstreams hold open.
///
/// Yields `.backendLine` for what they say of the end of a worker or a connection, with the moment of
/// its arrival; other lines only when something failed within a second of them. And `.counters`
/// (source `backend logs`), and `.blindSpot` for a log that cannot be read.
public final class BackendProbe: Probe {
  public let name = "backend logs"
  private let host: String
  private let utcOffset: Int
  private let table: ProcTable
  private let inbox = Mailbox()
  private let named: [BackendLogSource]
  private let opened = Mutex<Opened?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - sources: logs to follow from the start.
  ///   - utcOffset: seconds east of UTC of the clock in lines that do not say.
  ///   - proc: where the process table is mounted.
  public init(
    _ sources: [BackendLogSource] = [], host: String = hostName(), utcOffset: Int = 0,
    proc: String = "/proc"
  ) {
    named = sources
    self.host = host
    self.utcOffset = utcOffset
    table = ProcTable(root: proc)
  }

  deinit { stop() }

  /// Opens the logs that were named, at their ends.
  /// - Throws: `ProbeError` when this process may follow no files at all. A log that cannot be read is
  ///   a blind spot.
  public func open() throws {
    let inotify = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    guard inotify >= 0 else {
      throw ProbeError(
        doing: "watch the backends' logs (inotify)", reason: errorText(errno),
        remedy: "raise fs.inotify.max_user_instances")
    }
    do { try inbox.open() } catch {
      close(inotify)
      throw error
    }
    let follower = LogFollower(
      host: host, inotify: inotify, table: table, utcOffset: utcOffset)
    for source in named { follower.follow(source) }
    opened.withLock { $0 = Opened(follower: follower) }
  }

  /// Looks for the logs that a process behind an upstream holds open, and follows them too. Safe from
  /// any thread.
  public func look(at process: ProcessIdentity) { inbox.put(.process(process)) }

  /// Something failed: what the backends write around this moment is told as well.
  /// - Parameter upstream: whose backend failed; nil: any.
  public func noteFailure(of upstream: UpstreamPeer?) { inbox.put(.failure(upstream)) }

  public func start(_ sink: @escaping ObservationSink) throws {
    guard let opened = opened.withLock({ $0.take() }) else {
      throw ProbeError(doing: "follow the backends' logs", reason: "it was not opened")
    }
    let inbox = inbox
    let started = try ProbeThread.start("upclose-backend") { thread in
      opened.follower.run(thread, inbox, sink)
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    thread.withLock { $0.take() }?.stop()
    opened.withLock { $0 = nil }
    inbox.close()
  }

  /// What a session loses when this probe could not be opened.
  public static func blindSpot(_ error: ProbeError) -> BlindSpot {
    BlindSpot(
      id: "backend-logs", what: "the backends' own logs were not read: \(error.reason)",
      cost: "a master's time-out and a recycled worker are known by their signs only",
      remedy: error.remedy)
  }

  /// Handed from the opening thread to the probe's own, once.
  private final class Opened: @unchecked Sendable {
    let follower: LogFollower
    init(follower: LogFollower) { self.follower = follower }
  }
}

/// What other threads ask of the probe's own.
final class Mailbox: Sendable {
  enum Request: Sendable {
    case process(ProcessIdentity)
    case failure(UpstreamPeer?)
  }

  private struct State {
    var requests: [Request] = []
    var descriptor: Int32 = -1
  }
  private let state = Mutex(State())
  private static let limit = 4096

  var descriptor: Int32 { state.withLock { $0.descriptor } }

  func open() throws {
    let opened = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard opened >= 0 else { throw ProbeError(doing: "make an eventfd", reason: errorText(errno)) }
    close()
    state.withLock { $0.descriptor = opened }
  }

  func close() {
    state.withLock { state in
      if state.descriptor >= 0 { Glibc.close(state.descriptor) }
      state.descriptor = -1
    }
  }

  func put(_ request: Request) {
    state.withLock { state in
      guard state.requests.count < Self.limit else { return }
      state.requests.append(request)
      var one: UInt64 = 1
      if state.descriptor >= 0 { _ = write(state.descriptor, &one, 8) }
    }
  }

  func take() -> [Request] {
    state.withLock { state in
      var count: UInt64 = 0
      if state.descriptor >= 0 { _ = read(state.descriptor, &count, 8) }
      defer { state.requests = [] }
      return state.requests
    }
  }
}
