package import Evidence
import Synchronization

/// What the lab made on the host, and how each thing is taken away again: the last one first.
///
/// Every step registers its undo *before* it acts, so that one that fails half-way, or a build that
/// is abandoned, leaves nothing. An undo must therefore not mind if its thing does not exist.
package final class Undo: Sendable {
  private struct Step {
    var name: String
    var action: @Sendable () throws -> Void
  }
  private let steps = Mutex<[Step]>([])

  package init() {}

  package func register(_ name: String, _ action: @escaping @Sendable () throws -> Void) {
    steps.withLock { $0.append(Step(name: name, action: action)) }
  }

  /// Takes all away. Safe to call twice, and from two threads.
  /// - Returns: what could not be taken away; the rest was.
  package func run() -> [ProbeError] {
    var problems: [ProbeError] = []
    while let step = steps.withLock({ $0.popLast() }) {
      do {
        try step.action()
      } catch let error as ProbeError {
        problems.append(error)
      } catch {
        problems.append(ProbeError(doing: step.name, reason: "\(error)"))
      }
    }
    return problems
  }
}
