import Evidence
import LinuxHost
import Synchronization
import Testing

@Suite struct ProbeThreadTests {
  @Test func `a thread that sleeps ends when it is stopped`() throws {
    let finished = Atomic<Bool>(false)
    try withExtendedLifetime(Box(finished: finished)) { box in
      let thread = try ProbeThread.start("test") { thread in
        while thread.sleep(milliseconds: 60_000) {}
        box.finished.store(true, ordering: .releasing)
      }
      thread.stop()
      thread.stop()
      let ended = box.finished.load(ordering: .acquiring)
      #expect(ended)
    }
  }

  private final class Box: Sendable {
    let finished: Atomic<Bool>
    init(finished: consuming Atomic<Bool>) { self.finished = finished }
  }
}
