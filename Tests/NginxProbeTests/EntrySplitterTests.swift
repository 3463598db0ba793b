import Evidence
import Testing

@testable import NginxProbe

@Suite struct EntrySplitterTests {
  let first = "2026/11/24 10:01:02 [error] 1#1: one"
  let second = "2026/11/24 10:01:03 [error] 1#1: two"

  /// The entries of a text that arrives in pieces of `size` bytes, with their offsets.
  func split(_ text: String, size: Int = .max) -> (
    entries: [String], offsets: [UInt64], splitter: EntrySplitter
  ) {
    var splitter = EntrySplitter()
    var entries: [String] = []
    var offsets: [UInt64] = []
    func take(_ entry: Span<UInt8>, _ offset: UInt64) {
      entries.append(entry.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) })
      offsets.append(offset)
    }
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      rest.prefix(size).withUnsafeBytes { splitter.take($0, take) }
      rest = rest.dropFirst(size)
    }
    splitter.finish(take)
    return (entries, offsets, splitter)
  }

  @Test(arguments: [1, 2, 3, 7, 40, 1000])
  func `entries in pieces`(size: Int) {
    let more = "2026/11/24 10:01:04 [error] 1#1: *5 FastCGI sent in stderr: \"a\nb\nc\", client: x"
    let result = split("\(first)\n\(more)\n\(second)", size: size)
    #expect(result.entries == [first, more, second])
    #expect(
      result.offsets == [0, UInt64(first.utf8.count + 1), UInt64((first + more).utf8.count + 2)])
    #expect(result.splitter.strayLines == 0)
  }

  @Test func `lines before the first entry are counted`() {
    let result = split("continued\nagain\n\(first)\nmore\n\(second)\n")
    #expect(result.entries == [first + "\nmore", second])
    #expect(result.splitter.strayLines == 2)
  }

  @Test func `a line feed in a decoded path cannot forge an entry`() {
    let forged =
      "2026/11/24 10:01:02 [error] 1#1: *5 upstream prematurely closed connection while reading "
      + "response header from upstream"
    let whole =
      "2026/11/24 10:01:02 [error] 1#1: *5 open() \"/srv/a\n\(forged)\" failed (2: No such file or "
      + "directory), client: 192.0.2.7, server: s, request: \"GET /a%0A HTTP/1.1\", host: \"h\""
    let result = split("\(whole)\n\(second)\n")
    #expect(result.entries == [whole, second])
  }

  @Test func `lines of something else behind a complete entry are not of it`() {
    let failure = entry("recv() failed (104: Connection reset by peer)")
    let access =
      "192.0.2.7 - - [24/Nov/2026:10:01:02 +0000] \"GET /a HTTP/1.1\" 502 157 \"-\" \"c\""
    let result = split("\(failure)\n\(access)\n\(access)\n\(second)\n\(failure)\n\(access)\n")
    #expect(result.entries == [failure, second, failure])
    #expect(result.splitter.strayLines == 3)
    // Behind a decoded path comes what nginx itself says of the client: then all of it is one entry.
    let forged =
      "\(failure)\nx\" failed (2: No such file or directory), client: 192.0.2.9, server: s"
    #expect(split("\(forged)\n\(second)\n").entries == [forged, second])
  }

  @Test func `an entry that was never finished does not take those behind it along`() {
    let unfinished = "2026/11/24 10:01:02 [error] 1#1: *5 open() \"/srv/a"
    let filler = Array(repeating: second, count: 80)
    #expect(
      split(([unfinished] + filler).joined(separator: "\n")).entries == [unfinished] + filler)
    #expect(split("\(unfinished)\n\(second)\n").entries == [unfinished, second])
  }

  @Test(arguments: [1 << 10, 100_000])
  func `a line without an end is bounded`(size: Int) {
    let long = String(repeating: "x", count: 1_000_003)
    let result = split("\(first)\n\(second)\(long)\n\(second)\n", size: size)
    #expect(result.entries.first == first)
    #expect(result.entries.last == second)
    #expect(result.splitter.overlong <= 2)
    let lines = split("\(first)\n" + String(repeating: "y\n", count: 50_000) + second, size: size)
    #expect(lines.entries.last == second)
    #expect(lines.entries.allSatisfy { $0.utf8.count <= EntrySplitter.limit })
  }

  @Test func `garbage yields nothing`() {
    var generator = SystemRandomNumberGenerator()
    let bytes = (0..<200_003).map { _ in UInt8.random(in: 0...255, using: &generator) }
    var splitter = EntrySplitter()
    var count = 0
    bytes.withUnsafeBytes { splitter.take($0) { _, _ in count += 1 } }
    splitter.finish { _, _ in count += 1 }
    #expect(count == 0)
    #expect(splitter.nextOffset == 200_003 || splitter.nextOffset == 200_004)
  }
}
