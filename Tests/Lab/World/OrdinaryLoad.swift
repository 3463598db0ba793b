import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization

/// Ordinary clients: about twenty requests a second on a keepalive connection, GETs and POSTs by
/// turns, and every few seconds a burst of several at once. The burst makes nginx open connections
/// that nobody needs afterwards: they are what backends close when they have been idle for too long.
final class OrdinaryLoad: Sendable {
  private let namespacePath: String
  private let frontend: Endpoint
  private let counts = Mutex<[Int: Int]>([:])
  private let thread = Mutex<ProbeThread?>(nil)
  private let isPaused = Atomic<Bool>(false)
  private let isBusy = Atomic<Bool>(false)

  /// Between two requests, in milliseconds.
  private static let pause: Int32 = 50
  /// A burst after so many requests; more than the backends' idle timeout apart.
  private static let burstEvery = 70
  private static let burstSize = 4

  init(namespacePath: String, frontend: Endpoint) {
    self.namespacePath = namespacePath
    self.frontend = frontend
  }

  var statuses: [Int: Int] { counts.withLock { $0 } }

  func start() throws {
    try thread.withLock { thread in
      guard thread == nil else { return }
      let namespace = open(namespacePath, O_RDONLY | O_CLOEXEC)
      guard namespace >= 0 else {
        throw ProbeError(doing: "open \(namespacePath)", reason: errorText(errno))
      }
      thread = try ProbeThread.start("lab-load") { [self] thread in
        let entered = clinux_setns(namespace, clinux_CLONE_NEWNET) == 0
        close(namespace)
        if entered { run(thread) }
      }
    }
  }

  func stop() {
    let ending = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    ending?.stop()
  }

  /// Returns when no request is under way; none begins until `resume`.
  func pauseAndDrain() throws {
    isPaused.store(true, ordering: .sequentiallyConsistent)
    try wait(until: "the ordinary load pauses") { !isBusy.load(ordering: .sequentiallyConsistent) }
  }

  func resume() { isPaused.store(false, ordering: .sequentiallyConsistent) }

  private func run(_ thread: ProbeThread) {
    var client: HTTPClient?
    var number = 0
    repeat {
      // Busy is said before paused is asked, so that `pauseAndDrain` cannot miss a request.
      isBusy.store(true, ordering: .sequentiallyConsistent)
      if !isPaused.load(ordering: .sequentiallyConsistent) {
        number += 1
        if number % Self.burstEvery == 0 {
          burst(number, thread)
        } else {
          one(number, &client, thread)
        }
      }
      isBusy.store(false, ordering: .sequentiallyConsistent)
    } while thread.sleep(milliseconds: Self.pause)
  }

  private func one(_ number: Int, _ client: inout HTTPClient?, _ thread: ProbeThread) {
    do {
      let current = try client ?? HTTPClient(to: frontend) { thread.shouldStop }
      let method = number.isMultiple(of: 2) ? "GET" : "POST"
      let response = try current.exchange(method, "/items/\(number)")
      count(response.status)
      client = response.keepsAlive ? current : nil
    } catch {
      client = nil
      if !(error is Cancelled) { count(0) }
    }
  }

  /// Several slow requests at once: each needs a connection of its own to a backend.
  private func burst(_ number: Int, _ thread: ProbeThread) {
    var clients: [HTTPClient] = []
    for index in 0..<Self.burstSize {
      do {
        let client = try HTTPClient(to: frontend) { thread.shouldStop }
        try client.send("GET", "/report/\(number)/\(index)?ms=60")
        clients.append(client)
      } catch {
        count(0)
      }
    }
    for client in clients {
      do {
        count(try client.receive().status)
      } catch {
        if !(error is Cancelled) { count(0) }
      }
    }
  }

  private func count(_ status: Int) {
    counts.withLock { $0[status, default: 0] += 1 }
  }
}
