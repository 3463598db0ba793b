import Testing

@testable import PacketProbe

/// Deadlines come out in order, none is lost, and none comes early.
@Suite struct TimersTests {
  private struct Dice: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
  }

  @Test(arguments: 1...8) func `random deadlines`(seed: UInt64) {
    var dice = Dice(state: seed &* 0x9e37_79b9_7f4a_7c15)
    var timers = Timers()
    var now: Int64 = 1_700_000_000_000_000_000
    var waiting: [(time: Int64, number: UInt32)] = []
    var next: UInt32 = 1
    for _ in 0..<3000 {
      for _ in 0..<Int.random(in: 0...4, using: &dice) {
        // Past, within a slot, within the wheel, beyond it, far beyond it.
        let spans: [Int64] = [-1_000_000, 5_000_000, 6_000_000_000, 40_000_000_000, .max >> 20]
        let span = spans[Int.random(in: 0..<5, using: &dice)]
        let time = now + Int64.random(in: min(0, span)...max(0, span), using: &dice)
        timers.push(time, next, now: now)
        waiting.append((time, next))
        next += 1
      }
      let steps: [Int64] = [0, 1000, 3_000_000, 700_000_000, 30_000_000_000]
      now += Int64.random(in: 0...steps[Int.random(in: 0..<5, using: &dice)], using: &dice)
      let due = waiting.filter { $0.time <= now }
      waiting.removeAll { $0.time <= now }
      #expect(due.isEmpty || timers.next <= now)
      var taken: [(time: Int64, number: UInt32)] = []
      while let entry = timers.pop(until: now, willFire: { _, _ in }) { taken.append(entry) }
      #expect(taken.map(\.time) == due.map(\.time).sorted())
      #expect(Set(taken.map(\.number)) == Set(due.map(\.number)))
      #expect(timers.count == waiting.count)
      #expect(timers.next <= waiting.map(\.time).min() ?? .max)
    }
  }
}
