import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization

/// A network namespace of the lab, with a thread that lives in it.
///
/// Programs are started and sockets opened on that thread, not through `ip netns exec`, which would
/// also give them other mounts (without the cgroup file systems). The thread lives until `close`,
/// because programs that die with their parent die with the *thread* that started them.
package final class Namespace: Sendable {
  package let name: String
  /// As `/run/netns/NAME`.
  package let path: String
  private let thread = Mutex<ProbeThread?>(nil)
  private let queue: Queue

  private typealias Job = @Sendable (_ isOpen: Bool) -> Void
  private final class Queue: Sendable {
    let jobs = Mutex<[Job]>([])
    let isOpen = Atomic<Bool>(true)
    /// Counts jobs that wait.
    let ready: Int32
    init() throws { ready = try makeEventDescriptor() }
    deinit { Glibc.close(ready) }

    func next() -> Job? {
      var count: UInt64 = 0
      _ = read(ready, &count, 8)
      return jobs.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
  }

  /// Enters a namespace that exists.
  package init(name: String) throws {
    self.name = name
    path = "/run/netns/\(name)"
    queue = try Queue()
    let namespace = open(path, O_RDONLY | O_CLOEXEC)
    guard namespace >= 0 else {
      throw ProbeError(doing: "open \(path)", reason: errorText(errno))
    }
    let queue = self.queue
    let started = try ProbeThread.start("lab-namespace") { thread in
      let entered = clinux_setns(namespace, clinux_CLONE_NEWNET) == 0
      Glibc.close(namespace)
      if !entered { queue.isOpen.store(false, ordering: .releasing) }
      while !thread.shouldStop {
        thread.waitReadable([queue.ready], milliseconds: -1)
        while let job = queue.next() { job(entered) }
      }
      queue.isOpen.store(false, ordering: .releasing)
      while let job = queue.next() { job(false) }
    }
    thread.withLock { $0 = started }
  }

  /// Does something on the namespace's thread and waits for it.
  /// - Throws: what `body` throws; `ProbeError` when the namespace was closed.
  package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) throws -> T {
    let closed = ProbeError(
      doing: "work in namespace \(name)", reason: "it was closed or could not be entered")
    guard queue.isOpen.load(ordering: .acquiring) else { throw closed }
    let outcome = Outcome<T>(done: try makeEventDescriptor())
    queue.jobs.withLock {
      $0.append { isOpen in
        outcome.result.withLock { result in
          result = isOpen ? Result { try body() } : .failure(closed)
        }
        signalEvent(outcome.done)
      }
    }
    signalEvent(queue.ready)
    var polled = pollfd(fd: outcome.done, events: Int16(POLLIN), revents: 0)
    while poll(&polled, 1, 1000) <= 0 {
      // The thread may have ended between the check above and the append.
      if !queue.isOpen.load(ordering: .acquiring), let job = queue.next() { job(false) }
    }
    guard let result = outcome.result.withLock({ $0 }) else { throw closed }
    return try result.get()
  }

  /// Ends the thread; until then the namespace cannot go away.
  package func close() {
    let ending = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    ending?.stop()
  }

  private final class Outcome<T: Sendable>: Sendable {
    let result = Mutex<Result<T, any Error>?>(nil)
    let done: Int32
    init(done: Int32) { self.done = done }
    deinit { Glibc.close(done) }
  }
}

private func makeEventDescriptor() throws -> Int32 {
  let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  guard descriptor >= 0 else {
    throw ProbeError(doing: "make an event descriptor", reason: errorText(errno))
  }
  return descriptor
}

private func signalEvent(_ descriptor: Int32) {
  var one: UInt64 = 1
  _ = write(descriptor, &one, 8)
}
