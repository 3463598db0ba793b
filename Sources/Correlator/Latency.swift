import Evidence

/// How long an upstream's answers took, second by second: whether they grew slow before it failed.
struct Latency: Sendable {
  private var seconds: [(time: Timestamp, counts: [Int: UInt64])] = []
  private static let most = 7200

  /// Answers in all.
  private(set) var count = 0

  mutating func add(_ times: ResponseTimes, at time: Timestamp) {
    count += Int(clamping: min(times.counts.values.reduce(0, &+), 1 << 40))
    seconds.append((time, times.counts))
    if seconds.count > Self.most { seconds.removeFirst(Self.most / 2) }
  }

  /// P95 within five seconds before the errors, against the time that lies more than ten seconds from
  /// any. Nil where it did not rise, or too little was seen to say so.
  ///
  /// The test: of the answers before the errors more than a twentieth would have to be slower than the
  /// quiet P95 by chance (Fisher's exact test at 1 in 100), and the P95 must have doubled.
  func rise(before errors: [TimeEstimate]) -> String? {
    guard let (near, quiet) = split(errors) else { return nil }
    let (nearCount, quietCount) = (Self.sum(near), Self.sum(quiet))
    guard nearCount >= 20, quietCount >= 100, let usual = Self.p95(quiet), let then = Self.p95(near)
    else { return nil }
    let slow = Self.above(usual, near)
    let slowQuiet = Self.above(usual, quiet)
    let before = ReuseGaps.lowerBound(of: usual + 1)
    let after = ReuseGaps.lowerBound(of: then + 1)
    guard after >= .milliseconds(10), after.nanoseconds >= before.nanoseconds * 2,
      slow * quietCount > slowQuiet * nearCount,
      fisher(slow, of: nearCount, slowQuiet, of: quietCount) < 0.01
    else { return nil }
    return
      "answers had slowed before these closes: P95 \(after) in the 5 s before, \(before) in quiet "
      + "time (n=\(nearCount) against \(quietCount))"
  }

  private func split(_ errors: [TimeEstimate]) -> (near: [Int: UInt64], quiet: [Int: UInt64])? {
    guard !errors.isEmpty, !seconds.isEmpty else { return nil }
    let times = errors.map(\.best).sorted()
    var near: [Int: UInt64] = [:]
    var quiet: [Int: UInt64] = [:]
    for second in seconds {
      let next = Self.first(times, atOrAfter: second.time)
      let ahead = next < times.count ? times[next] - second.time : .seconds(1000)
      let behind = next > 0 ? second.time - times[next - 1] : .seconds(1000)
      if ahead <= .seconds(5) {
        near.merge(second.counts) { $0 &+ $1 }
      } else if ahead > .seconds(10), behind > .seconds(10) {
        quiet.merge(second.counts) { $0 &+ $1 }
      }
    }
    return (near, quiet)
  }

  private static func first(_ times: [Timestamp], atOrAfter time: Timestamp) -> Int {
    var (low, high) = (0, times.count)
    while low < high {
      let middle = (low + high) / 2
      if times[middle] < time { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static func sum(_ counts: [Int: UInt64]) -> Int {
    Int(clamping: min(counts.values.reduce(0, &+), 1 << 40))
  }

  private static func above(_ bucket: Int, _ counts: [Int: UInt64]) -> Int {
    Int(clamping: counts.reduce(0) { $1.key > bucket ? $0 &+ $1.value : $0 })
  }

  /// The bucket that the 95th of a hundred falls into.
  private static func p95(_ counts: [Int: UInt64]) -> Int? {
    let all = counts.values.reduce(0, &+)
    var seen: UInt64 = 0
    for (bucket, count) in counts.sorted(by: { $0.key < $1.key }) {
      seen &+= count
      if seen &* 100 >= all &* 95 { return bucket }
    }
    return nil
  }
}
