import Evidence
import Glibc
import LinuxHost

/// Converts the kernel's log clock to the time of day.
///
/// The log is stamped with the kernel's *local clock* (`local_clock()`), which no one disciplines:
/// it starts some milliseconds beside CLOCK_MONOTONIC and drifts from it as NTP slews that one. So
/// it is compared with CLOCK_MONOTONIC_RAW, which counts the same oscillator without NTP and, like
/// it, stands still while the host is suspended. What remains is a constant offset: at first known
/// only roughly, then bounded by each record that arrives live, since none arrives before it is
/// written.
struct KernelClock {
  /// One reading of the host's clocks.
  struct Reading: Equatable {
    var realtime: Timestamp
    var raw: TimeSpan
    /// How long the host has been suspended since it was booted.
    var suspended: TimeSpan
  }

  /// The clock behind the log, on a host that is not being read live, is taken to be this near.
  static let assumedOffset = TimeSpan.milliseconds(250)

  /// Bounds of (raw clock - local clock).
  private(set) var lowest: TimeSpan
  private(set) var highest: TimeSpan
  private var lastTightened: TimeSpan?

  init() {
    lowest = TimeSpan.zero - Self.assumedOffset
    highest = Self.assumedOffset
  }

  /// The time of a record that arrives while it is waited for: arrival is the latest it can be, and
  /// the record with the shortest delay so far tells how much earlier it may have been.
  mutating func live(_ microseconds: UInt64, arrival: Reading) -> TimeEstimate {
    let local = Self.span(microseconds)
    let delay = arrival.raw - local
    if delay < lowest {
      // The clock jumped (a machine that was moved): begin anew.
      lowest = delay - Self.assumedOffset
      highest = delay
    }
    // Both clocks are one oscillator's, but scaled apart: a part in a million is allowed to them.
    if let lastTightened { highest = highest + Self.drift(over: arrival.raw - lastTightened) }
    lastTightened = arrival.raw
    highest = min(highest, delay)
    lowest = min(lowest, highest)
    return estimate(local, at: arrival, latest: arrival.realtime)
  }

  /// The time of a record that was in the log before it was asked for: the older, the less certain,
  /// by 100 parts in a million (what NTP may have slewed the time of day) and by every suspension.
  func past(_ microseconds: UInt64, now: Reading) -> TimeEstimate {
    estimate(Self.span(microseconds), at: now, latest: now.realtime)
  }

  private func estimate(_ local: TimeSpan, at now: Reading, latest: Timestamp) -> TimeEstimate {
    let age = now.raw - (local + highest)
    let error = TimeSpan(nanoseconds: max(0, age.nanoseconds) / 10_000)
    let best = min(now.realtime - age, latest)
    let width = highest - lowest
    return TimeEstimate(
      best: best, earliest: best - width - error - now.suspended, latest: min(best + error, latest))
  }

  private static func drift(over span: TimeSpan) -> TimeSpan {
    TimeSpan(nanoseconds: max(0, span.nanoseconds) / 1_000_000)
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
    let suspended = read(CLOCK_BOOTTIME) - read(CLOCK_MONOTONIC)
    // Less than a millisecond is the gap between the two calls.
    return Reading(
      realtime: realtime, raw: TimeSpan(nanoseconds: raw),
      suspended: TimeSpan(nanoseconds: suspended < 1_000_000 ? 0 : suspended))
  }
}
