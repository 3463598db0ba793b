public import Evidence
import Glibc
import Synchronization

/// Collects what a probe yields.
public final class Collector: Sendable {
  private let observations = Mutex<[Observation]>([])

  public init() {}

  public var sink: ObservationSink {
    { [self] observation in observations.withLock { $0.append(observation) } }
  }

  public var all: [Observation] { observations.withLock { $0 } }

  public var facts: [Observation.Fact] { all.map(\.fact) }

  /// Waits, generously, until it holds.
  public func wait(until condition: (Collector) -> Bool) -> Bool {
    for _ in 0..<3000 {
      if condition(self) { return true }
      usleep(10_000)
    }
    return false
  }
}
