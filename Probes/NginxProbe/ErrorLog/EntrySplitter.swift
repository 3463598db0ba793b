import Glibc

/// Cuts a log's bytes into entries.
///
/// An entry starts with a time stamp; a physical line without one continues the entry before it
/// (headers of gRPC, an application's words and decoded paths may hold line feeds). An entry of a
/// client's connection that is complete, and is followed by lines that name no client, is over: those
/// are of something else that writes to the same pipe. An entry of a
/// client's connection that opened a quote and has not yet named the client cannot be over, unless it
/// filled nginx's buffer: what looks like an entry behind it was put there by whoever chose those
/// words, and continues it.
struct EntrySplitter {
  /// Bytes at which a physical line or an entry is given up; nginx itself stops at 2048.
  static let limit = 16 << 10

  /// Physical lines that neither started an entry nor continued one, and entries cut at the limit.
  private(set) var strayLines: UInt64 = 0
  private(set) var overlong: UInt64 = 0

  /// Holds what was not handed out, up to `end`; what stands behind that is free.
  private var buffer: [UInt8] = []
  private var end = 0
  /// Where in the file `buffer` starts.
  private var bufferOffset: UInt64
  /// In `buffer`: the start of the entry that may go on, of the line behind what was looked at, and
  /// where no line feed was found yet.
  private var entry: Int?
  /// The entry has lines behind its first that are no entries.
  private var isContinued = false
  /// The first line of the entry that looks like the start of another.
  private var swallowed: Int?
  private var line = 0
  private var scanned = 0
  /// The first sixteen bytes of the last entry: its date, hour and minute.
  private var knownMinute: (UInt64, UInt64) = (0, 0)
  /// The rest of an overlong line is being skipped.
  private var isSkipping = false

  /// Every physical line is an entry of its own, as in an access log.
  let isPlain: Bool

  /// - Parameters:
  ///   - offset: where in the file the first byte will be from.
  ///   - isPlain: for an access log.
  init(offset: UInt64 = 0, isPlain: Bool = false) {
    bufferOffset = offset
    self.isPlain = isPlain
  }

  /// Where in the file the next byte is to come from.
  var nextOffset: UInt64 { bufferOffset + UInt64(end) }

  /// Takes the bytes that follow those taken before, and hands out every entry that is complete.
  /// - Parameter body: gets an entry without its last line feed, and the offset of its first byte.
  mutating func take(
    _ bytes: UnsafeRawBufferPointer, _ body: (Span<UInt8>, UInt64) -> Void
  ) {
    makeRoom(for: bytes.count)
    let end = end
    buffer.withUnsafeMutableBytes { buffer in
      UnsafeMutableRawBufferPointer(rebasing: buffer[end...]).copyMemory(from: bytes)
    }
    self.end += bytes.count
    splitLines(body)
    compact()
  }

  /// The same for bytes that are read straight to where they are looked at.
  /// - Parameters:
  ///   - limit: bytes to read at most.
  ///   - read: puts them there, and says how many they were.
  /// - Returns: that number.
  mutating func take(
    atMost limit: Int, from read: (UnsafeMutableRawBufferPointer) throws -> Int,
    _ body: (Span<UInt8>, UInt64) -> Void
  ) rethrows -> Int {
    makeRoom(for: limit)
    let start = end
    let count = try buffer.withUnsafeMutableBytes { buffer in
      try read(UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + limit]))
    }
    end += count
    splitLines(body)
    compact()
    return count
  }

  private mutating func makeRoom(for count: Int) {
    let missing = end + count - buffer.count
    if missing > 0 { buffer.append(contentsOf: repeatElement(0, count: missing)) }
  }

  /// Hands out the entry that was waiting for more: nginx writes an entry at once, so at the end of
  /// the file it is whole.
  mutating func settle(_ body: (Span<UInt8>, UInt64) -> Void) {
    while entry != nil {
      flush(upTo: line, body)
      splitLines(body)
    }
    compact()
  }

  /// The same at the end of a file that nothing will be added to: a last line without a line feed is
  /// an entry too.
  mutating func finish(_ body: (Span<UInt8>, UInt64) -> Void) {
    if line < end, !isSkipping {
      makeRoom(for: 1)
      buffer[end] = 10
      end += 1
      splitLines(body)
    }
    settle(body)
  }

  /// Goes on with the books of the splitter that it replaces.
  mutating func inheritCounts(of other: EntrySplitter) {
    strayLines = other.strayLines
    overlong = other.overlong
  }

  private mutating func splitLines(_ body: (Span<UInt8>, UInt64) -> Void) {
    while let feed = nextLineFeed() {
      let start = line
      line = feed + 1
      scanned = line
      if isSkipping {
        isSkipping = false
        continue
      }
      consider(start..<feed, body)
    }
    scanned = end
    if end - line > Self.limit {
      // Part of it may have been other entries, which change what the last line is.
      guard flush(upTo: line, body) else { return splitLines(body) }
      if !isSkipping { overlong += 1 }
      isSkipping = true
      line = end
    }
  }

  private func nextLineFeed() -> Int? {
    buffer.span.first(10, in: scanned..<end)
  }

  private mutating func consider(
    _ range: Range<Int>, _ body: (Span<UInt8>, UInt64) -> Void
  ) {
    if isPlain {
      if !range.isEmpty {
        body(buffer.span.extracting(range), bufferOffset + UInt64(range.lowerBound))
      }
      return
    }
    let starts = startsEntry(range)
    guard let start = entry else {
      if starts { entry = range.lowerBound } else { strayLines += 1 }
      return
    }
    if starts {
      if goesOn(start..<range.lowerBound - 1) {
        swallowed = swallowed ?? range.lowerBound
      } else if flush(upTo: range.lowerBound, body) {
        entry = range.lowerBound
      }
    } else if range.upperBound - start <= Self.limit {
      isContinued = true
    } else {
      if flush(upTo: range.lowerBound, body) { overlong += 1 }
    }
  }

  private mutating func startsEntry(_ range: Range<Int>) -> Bool {
    guard range.count > CivilTime.length + 2 else { return false }
    let known = knownMinute
    let minute = buffer.withUnsafeBufferPointer { buffer -> (UInt64, UInt64)? in
      guard let base = buffer.baseAddress.map({ $0 + range.lowerBound }) else { return nil }
      let minute = (Word.at(base, 0), Word.at(base, 8))
      // Most entries are of the same minute as the one before.
      if minute == known {
        guard base[16] == 0x3a, base[17] &- 48 < 6, base[18] &- 48 < 10, base[19] == 0x20,
          base[20] == 0x5b
        else { return nil }
        return minute
      }
      let line = UnsafeBufferPointer(start: base, count: range.count)
      return EntryHeader.startsEntry(line.span) ? minute : nil
    }
    if let minute { knownMinute = minute }
    return minute != nil
  }

  /// Whether an entry cannot have ended yet.
  private func goesOn(_ range: Range<Int>) -> Bool {
    guard range.count < ErrorLogParser.longestEntry else { return false }
    let bytes = buffer.span.extracting(range)
    // Nearly all that have a client name it, and are told by that alone. (The header has no comma.)
    if bytes.first(", client: ", in: 0..<bytes.count) != nil { return false }
    // Debug entries have no fields behind their message.
    guard !bytes.has(" [debug", at: CivilTime.length), let header = EntryHeader(bytes),
      header.connection != nil
    else { return false }
    return bytes.first(UInt8(ascii: "\""), in: header.end..<bytes.count) != nil
      // Those of the stream module name the client otherwise, and quote nothing of it.
      && bytes.first(", bytes from/to client", in: header.end..<bytes.count) == nil
  }

  /// Hands out the waiting entry, which ends before `end`.
  ///
  /// If it swallowed what looked like entries, and yet never came to its own end, it was left
  /// unfinished (a full disk): then those were entries, and are looked at again.
  /// - Returns: whether all of it was handed out.
  @discardableResult
  private mutating func flush(upTo end: Int, _ body: (Span<UInt8>, UInt64) -> Void) -> Bool {
    guard let start = entry else { return true }
    entry = nil
    defer { isContinued = false }
    let other = swallowed
    swallowed = nil
    if let other, end - 1 - start > ErrorLogParser.longestEntry || goesOn(start..<end - 1) {
      body(buffer.span.extracting(start..<other - 1), bufferOffset + UInt64(start))
      line = other
      scanned = other
      return false
    }
    let own = ownLines(start..<end - 1)
    strayLines += own.strays
    body(buffer.span.extracting(start..<own.end), bufferOffset + UInt64(start))
    return true
  }

  /// Where an entry of several lines ends: behind the first when that is complete and none of the
  /// others names a client. (What nginx writes behind a decoded path with a line feed in it does: then
  /// the first line was put there by whoever asked for that path.)
  private func ownLines(_ range: Range<Int>) -> (end: Int, strays: UInt64) {
    guard isContinued else { return (range.upperBound, 0) }
    let bytes = buffer.span.extracting(range)
    guard let feed = bytes.first(10, in: 0..<bytes.count), feed > 0,
      bytes[feed - 1] == UInt8(ascii: "\""),
      bytes.first(", client: ", in: 0..<feed) != nil,
      bytes.first(", client: ", in: feed..<bytes.count) == nil
    else { return (range.upperBound, 0) }
    var strays: UInt64 = 0
    for position in feed..<bytes.count where bytes[position] == 10 { strays += 1 }
    return (range.lowerBound + feed, strays)
  }

  /// Forgets what was handed out.
  private mutating func compact() {
    let keep = entry ?? line
    guard keep > 0 else { return }
    let rest = end - keep
    buffer.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress, rest > 0 else { return }
      memmove(base, base + keep, rest)
    }
    end = rest
    bufferOffset += UInt64(keep)
    swallowed = swallowed.map { $0 - keep }
    line -= keep
    scanned -= keep
    if entry != nil { entry = 0 }
  }
}
