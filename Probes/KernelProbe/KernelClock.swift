import Evidence
import Glibc
import LinuxHost

/// Converts the kernel's log clock to the time of day.
///
/// The log is stamped with the kernel's *local clock* (`local_clock()`), which no one disciplines.
/// On bare metal it keeps pace with CLOCK_MONOTONIC_RAW, in a guest whose host keeps time for it with
/// CLOCK_MONOTONIC (measured: raw 206 ms off after two hours, monotonic 2.5 ms), and the kernel does
/// not say which; like both it stands still while the host is suspended. So either is allowed for,
/// until records arrive live: each bounds the offset, since none arrives before it is written.
struct KernelClock {
  /// One reading of the host's clocks.
  struct Reading: Equatable {
    var realtime: Timestamp
    /// CLOCK_MONOTONIC_RAW.
    var raw: TimeSpan
    /// CLOCK_MONOTONIC.
    var monotonic: TimeSpan
    /// How long the host has been suspended since it was booted.
    var suspended: TimeSpan
  }

  /// The log's clock begins this near to the others at the latest; and a reader that waits for a
  /// record has it this soon.
  static let assumedOffset = TimeSpan.milliseconds(250)

  /// Bounds of (raw clock - local clock); nil until the first reading.
  private(set) var bounds: ClosedRange<TimeSpan>?
  /// When a live record last bounded it.
  private var tightened: TimeSpan?

  /// The time of a record that arrives while it is waited for: arrival is the latest it can be, and
  /// the record with the shortest delay so far tells how much earlier it may have been.
  mutating func live(_ microseconds: UInt64, arrival: Reading) -> TimeEstimate {
    let local = Self.span(microseconds)
    let delay = arrival.raw - local
    var highest = delay
    if let tightened, let bounds, delay >= bounds.lowerBound {
      highest = min(delay, bounds.upperBound + Self.drift(over: arrival.raw - tightened))
    }
    // Without an older bound, or behind a clock that jumped (a guest that was moved): begin here.
    bounds = (highest - Self.assumedOffset)...highest
    tightened = arrival.raw
    let best = arrival.realtime - (delay - highest)
    return TimeEstimate(best: best, earliest: best - Self.assumedOffset, latest: best)
  }

  /// The time of a record that was in the log before it was asked for: the older, the less certain,
  /// by 100 parts in a million (what NTP may have slewed the time of day) and by every suspension.
  func past(_ microseconds: UInt64, now: Reading) -> TimeEstimate {
    let local = Self.span(microseconds)
    let gap = now.raw - now.monotonic
    let bounds =
      self.bounds
      ?? (min(gap, .zero) - Self.assumedOffset)...(max(gap, .zero) + Self.assumedOffset)
    func time(_ offset: TimeSpan) -> Timestamp { now.realtime - (now.raw - (local + offset)) }
    let error = TimeSpan(nanoseconds: max(0, (now.raw - local).nanoseconds) / 10_000)
    let middle = TimeSpan(
      nanoseconds: bounds.lowerBound.nanoseconds
        + (bounds.upperBound - bounds.lowerBound).nanoseconds / 2)
    let latest = min(time(bounds.upperBound) + error, now.realtime)
    return TimeEstimate(
      best: min(time(middle), now.realtime),
      earliest: time(bounds.lowerBound) - error - now.suspended, latest: latest)
  }

  /// 500 parts in a million, beyond which no clock is slewed (adjtimex(2)).
  private static func drift(over span: TimeSpan) -> TimeSpan {
    TimeSpan(nanoseconds: max(0, span.nanoseconds) / 2000)
  }

  private static func span(_ microseconds: UInt64) -> TimeSpan {
    TimeSpan(nanoseconds: Int64(clamping: microseconds) &* 1000)
  }

  /// The host's clocks now.
  static func now() -> Reading {
    func read(_ clock: clockid_t) -> Int64 {
      var time = timespec()
      clock_gettime(clock, &time)
      return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
    let raw = read(CLOCK_MONOTONIC_RAW)
    let realtime = currentTime()
    let monotonic = read(CLOCK_MONOTONIC)
    let suspended = read(CLOCK_BOOTTIME) - monotonic
    // Less than a millisecond is the gap between the two calls.
    return Reading(
      realtime: realtime, raw: TimeSpan(nanoseconds: raw),
      monotonic: TimeSpan(nanoseconds: monotonic),
      suspended: TimeSpan(nanoseconds: suspended < 1_000_000 ? 0 : suspended))
  }
}
