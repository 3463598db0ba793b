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
  private let options: LogOptions
  private let input: LogInput
  private var parser: ErrorLogParser
  private var splitter: EntrySplitter
  private var counts = LogCounts()
  private var counting: LogCensus?
  /// What a container's runtime or the journal put before each line; known once something was read.
  private var prefix: LinePrefix?
  private var ready: [Observation] = []
  private var position = 0
  private var chunk = [UInt8](repeating: 0, count: 128 << 10)
  private let start: UInt64
  private var firstBytes: [UInt8] = []
  /// The end of the last entry.
  private var lastEntry: UInt64
  private var isAtEnd = false

  /// Opens a log.
  /// - Parameters:
  ///   - path: `-` is the standard input.
  ///   - offset: bytes to skip; a line that starts before it is skipped as a whole.
  /// - Throws: `ProbeError` with the path, and the offset when it cannot be reached.
  public init(_ path: String, options: LogOptions, from offset: UInt64 = 0) throws {
    self.path = path
    self.options = options
    parser = options.parser
    splitter = EntrySplitter(offset: offset)
    start = offset
    lastEntry = offset
    input = try LogInput(path, from: offset)
  }

  /// What was read so far.
  public var counters: Counters {
    var counts = counts
    counts.notParsed += splitter.strayLines + splitter.overlong
    return counts.counters
  }

  /// The next line above the threshold; nil at the end.
  /// - Throws: `ProbeError` with the path and the offset, when the file cannot be read or holds no
  ///   error log; after that, nil.
  public func next() throws -> Observation? {
    while position == ready.count {
      if isAtEnd { return nil }
      ready.removeAll(keepingCapacity: true)
      position = 0
      do {
        try readChunk()
      } catch {
        isAtEnd = true
        throw error
      }
    }
    defer { position += 1 }
    return ready[position]
  }

  /// Reads all that is left and counts it, by message, worker and upstream; no line is kept.
  /// - Throws: as `next`.
  public func census() throws -> ErrorLogCensus {
    counting = LogCensus()
    defer { counting = nil }
    while !isAtEnd { try readChunk() }
    return counting?.result ?? ErrorLogCensus()
  }

  private func readChunk() throws {
    let offset = splitter.nextOffset
    let count = try chunk.withUnsafeMutableBytes { try input.read(into: $0, at: offset) }
    if firstBytes.count < 8 { firstBytes += chunk[..<min(count, 8 - firstBytes.count)] }
    if count == 0 {
      isAtEnd = true
      let rest = prefix?.finish() ?? []
      rest.withUnsafeBytes { splitter.take($0, take) }
      splitter.finish(take)
      if counts.lines == 0, offset > start { throw notALog(upTo: offset) }
      return
    }
    if prefix == nil { prefix = LinePrefix(firstBlock: chunk[..<count]) }
    if prefix?.isNone ?? true {
      chunk.withUnsafeBytes { bytes in
        splitter.take(UnsafeRawBufferPointer(rebasing: bytes[..<count]), take)
      }
    } else {
      let bare = prefix?.strip(chunk[..<count]) ?? []
      bare.withUnsafeBytes { splitter.take($0, take) }
    }
    if splitter.nextOffset > lastEntry, splitter.nextOffset - lastEntry > Self.patience {
      // What was read is handed out first; the next read finds the same again.
      if ready.isEmpty { throw notALog(upTo: splitter.nextOffset) }
    }
  }

  private func take(_ entry: Span<UInt8>, _ offset: UInt64) {
    if counting != nil { return count(entry, offset) }
    switch parser.parse(entry, path: path, offset: offset) {
    case .line(let line):
      counts.lines += 1
      ready.append(
        Observation(
          host: options.host, time: TimeEstimate(stamped: line.stamped), fact: .nginxLine(line)))
    case .skipped:
      counts.lines += 1
      counts.skipped += 1
    case .malformed:
      counts.notParsed += 1
      return
    }
    lastEntry = offset + UInt64(entry.count)
  }

  private func count(_ entry: Span<UInt8>, _ offset: UInt64) {
    guard let scanned = ScannedEntry(entry) else {
      counts.notParsed += 1
      return
    }
    counts.lines += 1
    counting?.count(scanned, entry)
    lastEntry = offset + UInt64(entry.count)
  }

  private func notALog(upTo end: UInt64) -> ProbeError {
    let hex = firstBytes.map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined(separator: " ")
    if counts.lines == 0 {
      return ProbeError(
        doing: "read \(path)",
        reason: "it is no nginx error log: no entry from byte \(start) to \(end), it starts with "
          + "\(hex)")
    }
    return ProbeError(
      doing: "read \(path)",
      reason: "no entry of an nginx error log from byte \(lastEntry) to \(end); "
        + "\(counts.lines) lines before it were read")
  }
}
