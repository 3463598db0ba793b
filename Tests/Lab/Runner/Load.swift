import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost

/// Ordinary clients of one backend: GETs and POSTs by turns, at a rate.
struct Load: Sendable {
  var bed: Bed
  var spec: Scenario.LoadSpec

  func start() throws -> [ProbeThread] {
    try (0..<spec.parallel).map { index in
      try ProbeThread.start("lab-load") { thread in
        let namespace = open(bed.nginxSpace.path, O_RDONLY | O_CLOEXEC)
        guard namespace >= 0 else { return }
        defer { close(namespace) }
        guard clinux_setns(namespace, clinux_CLONE_NEWNET) == 0 else { return }
        run(index, thread)
      }
    }
  }

  private func run(_ index: Int, _ thread: ProbeThread) {
    let client = Client(frontend: bed.frontend) { thread.shouldStop || bed.isCancelled }
    let pause = Int32(max(1, 1000 * Double(spec.parallel) / spec.rate))
    var number = 0
    repeat {
      number += 1
      let method = number.isMultiple(of: 2) ? "GET" : "POST"
      _ = try? client.exchange(
        Client.Request(method: method, path: "/\(spec.backend)/items/\(index)/\(number)"))
    } while thread.sleep(milliseconds: pause)
  }
}
