import Evidence
import Histogram

/// Counts of values, from which quantiles are taken.
struct Distribution {
  private var histogram = Histogram<UInt32>(
    highestTrackableValue: Self.largestValue, numberOfSignificantValueDigits: .two)
  private var count: UInt64 = 0
  /// Most values are small: these are counted each by itself, and enter the histogram when it is
  /// asked.
  private var small = [UInt32](repeating: 0, count: Self.smallCount)
  private static let smallCount = 1024

  /// Milliseconds: 12 days; bytes: 1 GB. What is beyond is counted there.
  private static let largestValue: UInt64 = 1 << 30

  /// - Parameter value: from 0.
  @inline(__always)
  mutating func record(_ value: Int) {
    count += 1
    if value >= 0, value < Self.smallCount, small[value] < .max {
      small[value] += 1
      return
    }
    recordLarge(value)
  }

  private mutating func recordLarge(_ value: Int) {
    _ = histogram.record(min(UInt64(max(value, 0)), Self.largestValue))
  }

  /// - Parameter unit: what one is worth: 0.001 for milliseconds told in seconds.
  func quantiles(unit: Double) -> Quantiles? {
    guard count > 0 else { return nil }
    var histogram = histogram
    for (value, number) in small.enumerated() where number > 0 {
      _ = histogram.record(UInt64(value), count: number)
    }
    func value(_ percentile: Double) -> Double {
      Double(histogram.valueAtPercentile(percentile)) * unit
    }
    return Quantiles(
      count: count, p50: value(50), p95: value(95), p99: value(99),
      largest: Double(histogram.maxRecorded) * unit)
  }
}
