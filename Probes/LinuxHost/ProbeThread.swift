import CLinux
import Evidence
import Glibc
import Synchronization

/// A named thread of a probe's own, with a descriptor that wakes its `poll` when it is to end.
///
/// Probes block in system calls, and a blocked task would stop every other on a small host, so they
/// use threads and not Swift's concurrency pool.
public final class ProbeThread: Sendable {
  private let handle: Mutex<pthread_t?>
  private let stopping = Atomic<Bool>(false)
  /// Becomes readable, and stays so, once `stop` was called. Poll it beside the source.
  public let wake: Int32

  /// - Parameters:
  ///   - name: at most 15 bytes, as `top -H` shows it.
  ///   - body: gets this thread; returns soon after `shouldStop` is true or `wake` is readable.
  /// - Throws: `ProbeError` when the process may have no more threads or descriptors.
  public static func start(
    _ name: String, _ body: @escaping @Sendable (ProbeThread) -> Void
  ) throws -> ProbeThread {
    let wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard wake >= 0 else {
      throw ProbeError(doing: "start thread \(name)", reason: errorText(errno))
    }
    let thread = ProbeThread(wake: wake)
    let work = Work(thread: thread, name: name, body: body)
    var id = pthread_t()
    let result = pthread_create(
      &id, nil,
      { pointer in
        if let pointer { Unmanaged<Work>.fromOpaque(pointer).takeRetainedValue().run() }
        return nil
      }, Unmanaged.passRetained(work).toOpaque())
    guard result == 0 else {
      throw ProbeError(doing: "start thread \(name)", reason: errorText(result))
    }
    thread.handle.withLock { $0 = id }
    return thread
  }

  private init(wake: Int32) {
    self.wake = wake
    handle = Mutex(nil)
  }

  deinit { close(wake) }

  public var shouldStop: Bool { stopping.load(ordering: .acquiring) }

  /// Asks the thread to end and waits until it has. Safe to call twice.
  public func stop() {
    stopping.store(true, ordering: .releasing)
    var one: UInt64 = 1
    _ = write(wake, &one, 8)
    let id = handle.withLock { id in
      defer { id = nil }
      return id
    }
    if let id { pthread_join(id, nil) }
  }

  /// Sleeps until `stop` is called or the time is over.
  /// - Returns: whether to go on.
  public func sleep(milliseconds: Int32) -> Bool {
    waitReadable([], milliseconds: milliseconds)
    return !shouldStop
  }

  /// Waits until one of the descriptors is readable, `stop` is called, or the time is over.
  /// - Parameter milliseconds: -1 for as long as it takes.
  /// - Returns: which descriptors are readable (or in error).
  @discardableResult
  public func waitReadable(_ descriptors: [Int32], milliseconds: Int32) -> Set<Int32> {
    var polled = ([wake] + descriptors).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    guard poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { return [] }
    return Set(polled.dropFirst().filter { $0.revents != 0 }.map(\.fd))
  }

  private final class Work: @unchecked Sendable {
    // Handed from one thread to another once, and only read there.
    let thread: ProbeThread
    let name: String
    let body: @Sendable (ProbeThread) -> Void
    init(thread: ProbeThread, name: String, body: @escaping @Sendable (ProbeThread) -> Void) {
      self.thread = thread
      self.name = name
      self.body = body
    }
    func run() {
      _ = clinux_name_thread(name)
      body(thread)
    }
  }
}
