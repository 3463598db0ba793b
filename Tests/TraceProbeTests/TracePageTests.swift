import Testing

@testable import TraceProbe

/// Pages as the ring buffer lays them out.
@Suite struct TracePageTests {
  static let header = """
    \tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
    """

  private struct Seen: Equatable {
    var time: UInt64
    var bytes: [UInt8]
  }

  private func word(_ value: UInt64, _ size: Int) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }

  private func event(_ type: UInt64, _ delta: UInt64) -> [UInt8] { word(delta << 5 | type, 4) }

  private func read(_ data: [UInt8], commit: UInt64? = nil) throws -> (TracePage, [Seen]) {
    let layout = try #require(TracePageLayout(Self.header))
    let page = word(1000, 8) + word(commit ?? UInt64(data.count), 8) + data
    var seen: [Seen] = []
    let result = page.withUnsafeBytes { bytes in
      TracePage(bytes, layout) { seen.append(Seen(time: $0, bytes: Array($1))) }
    }
    return (result, seen)
  }

  @Test func `the layout is read from the kernel's text`() throws {
    let layout = try #require(TracePageLayout(Self.header))
    #expect(layout.size == 4096)
    #expect(layout.data == 16)
    #expect(TracePageLayout("nothing") == nil)
  }

  @Test func `short, long, extended, absolute and discarded events follow each other`() throws {
    let data =
      event(1, 5) + [1, 2, 3, 4]  // 4 bytes at 1005
      + event(0, 1) + word(8, 4) + [5, 6, 7, 8]  // length with its own word: 4 bytes at 1006
      + event(30, 7) + word(1, 4)  // + 7 + 1 << 27
      + event(29, 1) + word(4, 4)  // discarded, with a delta
      + event(31, 3) + word(2, 4)  // absolute
      + event(1, 0) + [9, 9, 9, 9] + event(29, 0)
    let (page, seen) = try read(data)
    #expect(page.lost == 0)
    #expect(!page.isMalformed)
    #expect(
      seen == [
        Seen(time: 1005, bytes: [1, 2, 3, 4]), Seen(time: 1006, bytes: [5, 6, 7, 8]),
        Seen(time: 3 | 2 << 27, bytes: [9, 9, 9, 9]),
      ])
  }

  @Test func `lost events are counted where the kernel counts them`() throws {
    let data = event(1, 5) + [1, 2, 3, 4]
    let counted = try read(data + word(77, 8), commit: UInt64(data.count) | 3 << 30)
    #expect(counted.0.lost == 77)
    #expect(counted.1.count == 1)
    let unknown = try read(data, commit: UInt64(data.count) | 1 << 31)
    #expect(unknown.0.lost == nil)
  }

  @Test func `a page that lies is read as far as it is true`() throws {
    let good = event(1, 5) + [1, 2, 3, 4]
    for bad in [
      event(20, 1), event(0, 1), event(0, 1) + word(2, 4), event(0, 1) + word(4000, 4),
      event(29, 9), event(29, 9) + word(0, 4), event(30, 1), event(31, 1),
    ] {
      let (page, seen) = try read(good + bad)
      #expect(seen.count == 1)
      #expect(page.isMalformed)
    }
    let (page, seen) = try read(good, commit: 4000)
    #expect(page.isMalformed)
    #expect(seen.count == 1)
    let layout = try #require(TracePageLayout(Self.header))
    let short = [UInt8](repeating: 0, count: 9).withUnsafeBytes {
      TracePage($0, layout) { _, _ in }
    }
    #expect(short.isMalformed)
  }

  @Test func `ports become few ranges`() {
    #expect(TraceFilter.ranges([8080, 80, 81, 0, 80]) == [80...81, 8080...8080])
    let many = (0..<2000).map { UInt16(1000 + $0 * 7) }
    let ranges = TraceFilter.ranges(many)
    #expect(ranges.count == TraceFilter.mostRanges)
    #expect(many.allSatisfy { port in ranges.contains { $0.contains(port) } })
  }

  @Test func `a filter fits into a page`() throws {
    let many = (0..<2000).map { UInt16(10_001 + $0 * 7) }
    let format = try #require(TraceFormat(TraceFormatTests.state))
    for event in TraceDecoder.Event.allCases {
      #expect(TraceFilter.text(event, format, ports: many).utf8.count < 4096)
    }
  }
}
