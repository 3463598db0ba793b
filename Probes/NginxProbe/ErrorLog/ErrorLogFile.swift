public import Evidence
import Glibc
import LinuxHost

/// An error log that is read from a file, once, from its first line to its last.
///
///     let log = try ErrorLogFile("/var/log/nginx/error.log", options: LogOptions())
///     while let observation = try log.next() { ... }
///
/// An error ends it; what was returned before stays true.
public final class ErrorLogFile {
  /// Bytes without a single entry after which a file is not taken for an error log.
  static let patience = 1 << 20

  public let path: String
  private let input: LogInput
  private var splitter: EntrySplitter
  private var entries: FileEntries
  /// What a container's runtime or the journal put before each line; known once something was read.
  private var prefix: LinePrefix?
  private var position = 0
  private static let chunkSize = 128 << 10
  private let start: UInt64
  private var firstBytes: [UInt8] = []
  private var isAtEnd = false

  /// Opens a log.
  /// - Parameters:
  ///   - path: `-` is the standard input.
  ///   - offset: bytes to skip; a line that starts before it is skipped as a whole.
  /// - Throws: `ProbeError` with the path, and the offset when it cannot be reached.
  public init(_ path: String, options: LogOptions, from offset: UInt64 = 0) throws {
    self.path = path
    entries = FileEntries(path: path, options: options, from: offset)
    splitter = EntrySplitter(offset: offset)
    start = offset
    input = try LogInput(path, from: offset)
  }

  /// What was read so far.
  public var counters: Counters {
    var counts = entries.counts
    counts.crowded = entries.sieve.counted
    counts.notParsed += splitter.strayLines + splitter.overlong
    return counts.counters
  }

  /// The next line above the threshold; nil at the end.
  /// - Throws: `ProbeError` with the path and the offset, when the file cannot be read or holds no
  ///   error log; after that, nil.
  public func next() throws -> Observation? {
    while position == entries.ready.count {
      if isAtEnd { return nil }
      entries.ready.removeAll(keepingCapacity: true)
      position = 0
      do {
        try readChunk()
      } catch {
        isAtEnd = true
        throw error
      }
    }
    defer { position += 1 }
    return entries.ready[position]
  }

  /// Reads all that is left and counts it, by message, worker and upstream; no line is kept.
  /// - Throws: as `next`.
  public func census() throws -> ErrorLogCensus {
    entries.census = LogCensus()
    defer { entries.census = nil }
    while !isAtEnd { try readChunk() }
    return entries.census?.result ?? ErrorLogCensus()
  }

  /// Whether a failure is told however many there are like it: a capture has the packets of its time.
  public var keepsAll: Bool {
    get { entries.keepsAll }
    set { entries.keepsAll = newValue }
  }

  /// When the last entry of a log was written, by its own stamp; nil when its end shows none.
  ///
  /// A plain file is looked at from its end; one that gzip made is read whole.
  public static func lastMoment(of path: String, zone: LogZone) -> Timestamp? {
    guard path != "-", let input = try? LogInput(path, fromEnd: 64 << 10) else { return nil }
    var bytes = [UInt8](repeating: 0, count: 128 << 10)
    var last: CivilTime?
    var rest: [UInt8] = []
    while let count = try? bytes.withUnsafeMutableBytes({ try input.read(into: $0, at: 0) }),
      count > 0
    {
      let block = rest + bytes[..<count]
      // The last line that starts with a stamp; that of a block that is cut comes with the next one.
      for line in block.split(separator: 10).reversed() {
        guard let time = CivilTime(Array(line.prefix(CivilTime.length)).span) else { continue }
        last = time
        break
      }
      rest = Array(block.suffix(CivilTime.length))
    }
    var clock = LogClock(zone)
    return last.map { clock.moment($0) }
  }

  private func readChunk() throws {
    let count: Int
    if prefix?.isNone ?? false {
      // Both are lent for the whole chunk: each line touches them often, and an object's own
      // properties are checked at each touch.
      count = try Self.readChunk(of: input, &splitter, &entries)
    } else {
      count = try readFirst(at: splitter.nextOffset)
    }
    if count == 0 {
      isAtEnd = true
      Self.split(prefix?.finish() ?? [], &splitter, &entries)
      let end = splitter.nextOffset
      Self.finish(&splitter, &entries)
      if entries.counts.lines == 0, end > start { throw notALog(upTo: end) }
      entries.tellCounts()
      return
    }
    let end = splitter.nextOffset
    if end > entries.end, end - entries.end > Self.patience {
      // What was read is handed out first; the next read finds the same again.
      if entries.ready.isEmpty { throw notALog(upTo: end) }
    }
  }

  private static func readChunk(
    of input: LogInput, _ splitter: inout EntrySplitter, _ entries: inout FileEntries
  ) throws -> Int {
    let offset = splitter.nextOffset
    return try splitter.take(
      atMost: chunkSize, from: { try input.read(into: $0, at: offset) },
      { entries.take($0, $1) })
  }

  private static func split(
    _ bytes: [UInt8], _ splitter: inout EntrySplitter, _ entries: inout FileEntries
  ) {
    bytes.withUnsafeBytes { bytes in
      splitter.take(bytes) { entries.take($0, $1) }
    }
  }

  private static func finish(_ splitter: inout EntrySplitter, _ entries: inout FileEntries) {
    splitter.finish { entries.take($0, $1) }
  }

  /// Reads the first bytes, by which it is known what stands before each line, and all of a log that
  /// has something there.
  private func readFirst(at offset: UInt64) throws -> Int {
    var chunk = [UInt8](repeating: 0, count: Self.chunkSize)
    let count = try chunk.withUnsafeMutableBytes { try input.read(into: $0, at: offset) }
    if firstBytes.count < 8 { firstBytes += chunk[..<min(count, 8 - firstBytes.count)] }
    guard count > 0 else { return 0 }
    if prefix == nil { prefix = LinePrefix(firstBlock: chunk[..<count]) }
    let isNone = prefix?.isNone ?? true
    let bare = isNone ? Array(chunk[..<count]) : prefix?.strip(chunk[..<count]) ?? []
    Self.split(bare, &splitter, &entries)
    return count
  }

  private func notALog(upTo end: UInt64) -> ProbeError {
    let hex = firstBytes.map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined(separator: " ")
    if entries.counts.lines == 0 {
      return ProbeError(
        doing: "read \(path)",
        reason: "it is no nginx error log: no entry from byte \(start) to \(end), it starts with "
          + "\(hex)")
    }
    return ProbeError(
      doing: "read \(path)",
      reason: "no entry of an nginx error log from byte \(entries.end) to \(end); "
        + "\(entries.counts.lines) lines before it were read")
  }
}
