/// How long connections of one upstream had been idle when nginx reused them: what a shorter
/// `keepalive_timeout` would cost (each longer gap is a new connection), counted rather than told.
public struct ReuseGaps: Hashable, Codable, Sendable {
  public var responder: Endpoint
  /// Since the last such observation: how many requests began after a gap of each length, by the
  /// index that `bucket(of:)` gives. Only what is not zero.
  public var counts: [Int: UInt64]

  public init(responder: Endpoint, counts: [Int: UInt64] = [:]) {
    self.responder = responder
    self.counts = counts
  }

  /// Eight buckets to the doubling from 1 ms on; bucket 0 holds everything shorter.
  private static let perDoubling = 8

  /// From the last payload byte of the previous exchange to the first byte of the next request. A
  /// bucket's bounds are within 13 % of each other.
  public static func bucket(of gap: TimeSpan) -> Int {
    let units = gap.nanoseconds / 1_000_000
    guard units >= 1 else { return 0 }
    let octave = Int64.bitWidth - 1 - units.leadingZeroBitCount
    // The position within the octave, from the exact remainder: (gap - 2^octave ms) / 2^octave ms.
    let base = Int64(1) << octave
    let within = (gap.nanoseconds - base * 1_000_000) / (base * 1_000_000 / Int64(perDoubling))
    return 1 + octave * perDoubling + Int(min(within, Int64(perDoubling) - 1))
  }

  /// The shortest gap that falls into a bucket; zero for bucket 0.
  public static func lowerBound(of bucket: Int) -> TimeSpan {
    guard bucket >= 1 else { return TimeSpan(nanoseconds: 0) }
    let octave = min((bucket - 1) / perDoubling, 40)
    let base = (Int64(1) << octave) * 1_000_000
    return TimeSpan(
      nanoseconds: base + base / Int64(perDoubling) * Int64((bucket - 1) % perDoubling))
  }
}
