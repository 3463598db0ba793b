import CLinux
import Evidence
import Glibc
import Synchronization

/// Where the probes' threads leave their observations, and the session's thread takes them. Bounded:
/// what does not fit is counted, so that a flood costs truth about itself and no memory.
final class Inbox: Sendable {
  /// Becomes readable when there is something to take.
  let descriptor: Int32
  private let state = Mutex(State())
  private let limit: Int

  private struct State {
    var waiting: [Observation] = []
    var lost: UInt64 = 0
    var seen: UInt64 = 0
  }

  init(limit: Int = 200_000) {
    self.limit = limit
    descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  }

  deinit { close(descriptor) }

  func put(_ observation: Observation) {
    let isFirst = state.withLock { state in
      state.seen += 1
      guard state.waiting.count < limit else {
        state.lost += 1
        return false
      }
      state.waiting.append(observation)
      return state.waiting.count == 1
    }
    if isFirst {
      var one: UInt64 = 1
      _ = write(descriptor, &one, 8)
    }
  }

  /// Everything that waits, in order of arrival.
  func take() -> [Observation] {
    var value: UInt64 = 0
    _ = read(descriptor, &value, 8)
    return state.withLock { state in
      defer { state.waiting = [] }
      return state.waiting
    }
  }

  /// What went through it, and what did not fit.
  var counters: Counters {
    state.withLock { Counters(source: "inbox", seen: $0.seen, lost: $0.lost) }
  }
}
