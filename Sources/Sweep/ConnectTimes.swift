public import Evidence
import Histogram

/// Percentiles of connect times, to two significant digits, in bounded memory.
public struct ConnectTimes: Sendable {
  /// In microseconds. It grows with the longest time it has seen, to 10 KiB at most.
  private var histogram = Histogram<UInt32>(numberOfSignificantValueDigits: .two)

  public init() {}

  /// A time above an hour counts as an hour.
  public mutating func record(_ time: TimeSpan) {
    let microseconds = max(1, min(3_600_000_000, (time.nanoseconds + 500) / 1000))
    histogram.record(UInt64(microseconds))
  }

  public var count: UInt64 { histogram.totalCount }

  /// - Parameter percentile: 0 to 100.
  /// - Returns: nil when nothing was recorded.
  public func percentile(_ percentile: Double) -> TimeSpan? {
    guard count > 0 else { return nil }
    return .microseconds(Int64(clamping: histogram.valueAtPercentile(percentile)))
  }

  public var longest: TimeSpan? {
    count > 0 ? .microseconds(Int64(clamping: histogram.max)) : nil
  }

  public var mean: TimeSpan? {
    count > 0 ? TimeSpan(nanoseconds: Int64(histogram.mean * 1000)) : nil
  }
}
