import Evidence
import Histogram

/// Counts of values, from which quantiles are taken.
struct Distribution {
  private var histogram = Histogram<UInt32>(
    highestTrackableValue: Self.largestValue, numberOfSignificantValueDigits: .two)
  private var count: UInt64 = 0

  /// Milliseconds: 12 days; bytes: 1 GB. What is beyond is counted there.
  private static let largestValue: UInt64 = 1 << 30

  /// - Parameter value: from 0.
  mutating func record(_ value: Int) {
    _ = histogram.record(min(UInt64(max(value, 0)), Self.largestValue))
    count += 1
  }

  /// - Parameter unit: what one is worth: 0.001 for milliseconds told in seconds.
  func quantiles(unit: Double) -> Quantiles? {
    guard count > 0 else { return nil }
    func value(_ percentile: Double) -> Double {
      Double(histogram.valueAtPercentile(percentile)) * unit
    }
    return Quantiles(
      count: count, p50: value(50), p95: value(95), p99: value(99),
      largest: Double(histogram.maxRecorded) * unit)
  }
}
