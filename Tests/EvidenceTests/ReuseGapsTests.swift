import Testing

@testable import Evidence

struct ReuseGapsTests {
  @Test func `a gap falls into the bucket whose bounds hold it`() {
    for nanoseconds: Int64 in [
      0, 999_999, 1_000_000, 1_124_999, 1_125_000, 1_999_999, 2_000_000, 5_000_000_000,
      60_000_000_000, 3_599_999_999_999,
    ] {
      let bucket = ReuseGaps.bucket(of: TimeSpan(nanoseconds: nanoseconds))
      #expect(ReuseGaps.lowerBound(of: bucket).nanoseconds <= nanoseconds)
      #expect(ReuseGaps.lowerBound(of: bucket + 1).nanoseconds > nanoseconds)
    }
  }

  @Test func `bounds grow by an eighth of the octave`() {
    #expect(ReuseGaps.lowerBound(of: 0) == TimeSpan(nanoseconds: 0))
    #expect(ReuseGaps.lowerBound(of: 1) == TimeSpan(nanoseconds: 1_000_000))
    #expect(ReuseGaps.lowerBound(of: 2) == TimeSpan(nanoseconds: 1_125_000))
    #expect(ReuseGaps.lowerBound(of: 9) == TimeSpan(nanoseconds: 2_000_000))
  }
}
