import Evidence
import Testing

@testable import KernelProbe

@Suite struct KernelClockTests {
  private func reading(_ raw: Double, slewed: TimeSpan = .zero, suspended: TimeSpan = .zero)
    -> KernelClock.Reading
  {
    KernelClock.Reading(
      realtime: Timestamp(seconds: 1_000_000) + TimeSpan(seconds: raw),
      raw: TimeSpan(seconds: raw), monotonic: TimeSpan(seconds: raw) + slewed, suspended: suspended)
  }

  @Test func `a live record is not later than its arrival`() {
    var clock = KernelClock()
    let time = clock.live(100_000_000, arrival: reading(100.002))
    #expect(time.latest == Timestamp(seconds: 1_000_100, nanoseconds: 2_000_000))
    #expect(time.best == time.latest)
    #expect(time.earliest < time.best)
  }

  @Test func `the shortest delay so far tells what a late reader missed`() {
    var clock = KernelClock()
    _ = clock.live(100_000_000, arrival: reading(100.002))
    let time = clock.live(101_000_000, arrival: reading(101.5))
    // Written a second after the first, read half a second late.
    #expect(
      (time.best - Timestamp(seconds: 1_000_101, nanoseconds: 2_000_000)).magnitude
        < .milliseconds(1))
    #expect(time.latest - time.best < .milliseconds(1))
  }

  @Test func `uncertainty grows with a record's age`() {
    let clock = KernelClock()
    let young = clock.past(99_000_000, now: reading(100))
    let old = clock.past(0, now: reading(86_400))
    #expect(young.latest - young.earliest < .seconds(1))
    #expect(old.latest - old.earliest > .seconds(8))
    #expect(old.earliest < Timestamp(seconds: 1_000_000))
    #expect(old.latest > Timestamp(seconds: 1_000_000))
  }

  @Test func `the log's clock may go with either of two`() {
    // NTP has slewed the monotonic clock by three seconds since the boot.
    let time = KernelClock().past(90_000_000, now: reading(100, slewed: .seconds(3)))
    #expect(time.earliest < Timestamp(seconds: 1_000_087))
    #expect(time.latest > Timestamp(seconds: 1_000_090))
  }

  @Test func `a live record after a long silence is bounded by its arrival`() {
    var clock = KernelClock()
    _ = clock.live(100_000_000, arrival: reading(100.002))
    // An hour later the log's clock has fallen 108 ms behind.
    let time = clock.live(3_700_000_000, arrival: reading(3700.110))
    #expect(time.best == Timestamp(seconds: 1_003_700, nanoseconds: 110_000_000))
  }

  @Test func `a suspension may lie on either side of a record`() {
    let time = KernelClock().past(10_000_000, now: reading(100, suspended: .seconds(3600)))
    #expect(time.earliest < Timestamp(seconds: 1_000_010 - 3600))
  }

  @Test func `a clock that jumps is taken up anew`() {
    var clock = KernelClock()
    _ = clock.live(100_000_000, arrival: reading(100.002))
    // The log's clock is an hour ahead of what it was.
    let time = clock.live(3_701_000_000, arrival: reading(101))
    #expect(time.best == Timestamp(seconds: 1_000_101))
  }
}
