public import Evidence
import Glibc
import LinuxHost

/// An access log that is read from a file, once, from its first line to its last; gzip is undone.
///
///     let log = try AccessLogFile("/var/log/nginx/access.log", formats: formats, options: options)
///     while let observation = try log.next() { ... }
///
/// It yields the requests that matter (`.nginxRequest`) and at the end what was counted of each
/// upstream (`.upstreamTraffic`). An error ends it; what was returned before stays true.
public final class AccessLogFile {
  private static let blockSize = 256 << 10

  public let path: String
  private let options: LogOptions
  private let input: LogInput
  private let buffer: UnsafeMutableRawBufferPointer
  private var cutter: LineCutter
  private let candidates: [AccessLogFormat]
  private var parser: AccessLogParser?
  private var counts = AccessLogCounts()
  private var ready: [Observation] = []
  private var position = 0
  private var isAtEnd = false
  /// Bytes that were read and not yet looked at.
  private var waiting: Int?

  /// - Parameters:
  ///   - path: `-` is the standard input.
  ///   - formats: those that it may be written in; the one that reads its first lines with the most
  ///     fields is taken.
  ///   - watchedConnections: requests of these (`$connection`) matter in any case: the error log has
  ///     lines of them.
  /// - Throws: `ProbeError` with the path.
  public init(
    _ path: String, formats: [AccessLogFormat], options: LogOptions,
    watchedConnections: Set<UInt64> = []
  ) throws {
    self.path = path
    self.watchedConnections = watchedConnections
    self.options = options
    candidates = formats
    input = try LogInput(path)
    buffer = .allocate(byteCount: Self.blockSize + LineCutter.limit, alignment: 16)
    cutter = LineCutter(buffer)
  }

  deinit { buffer.deallocate() }

  /// Requests of these connections matter in any case; more may be added while it is read.
  public var watchedConnections: Set<UInt64> {
    didSet { parser?.watchedConnections = watchedConnections }
  }

  /// The format that was found; nil before the first call of `next`.
  public var format: AccessLogFormat? { parser?.format }

  /// What was read so far.
  public var counters: Counters {
    var counts = counts
    counts.notParsed += cutter.overlong
    return counts.counters
  }

  /// Up to when requests had ended that the next call of `next` may look at: the errors of those times
  /// say which connections to watch. Nil when that is not known, or at the end.
  /// - Throws: as `next`.
  public func horizon() throws -> Timestamp? {
    guard position == ready.count, !isAtEnd, waiting == nil else { return nil }
    do {
      let count = try fill()
      waiting = count
      let block = UnsafeRawBufferPointer(rebasing: cutter.free[..<count])
      guard let feed = block.lastIndex(of: 10), let parser else { return nil }
      let start = block[..<feed].lastIndex(of: 10).map { $0 + 1 } ?? 0
      return parser.end(ofRequest: Array(block[start..<feed]))
    } catch {
      isAtEnd = true
      throw error
    }
  }

  /// The next request that matters, and at the end the totals; then nil.
  /// - Throws: `ProbeError` with the path when the file cannot be read, or is not in any of the
  ///   formats.
  public func next() throws -> Observation? {
    while position == ready.count {
      if isAtEnd { return nil }
      ready.removeAll(keepingCapacity: true)
      position = 0
      do {
        try readBlock()
      } catch {
        isAtEnd = true
        throw error
      }
    }
    defer { position += 1 }
    return ready[position]
  }

  /// Puts the next block where the cutter wants it.
  private func fill() throws -> Int {
    let free = cutter.free
    let count = try input.read(
      into: .init(rebasing: free.prefix(Self.blockSize)), at: cutter.nextOffset)
    if parser == nil, count > 0 { try choose(UnsafeRawBufferPointer(rebasing: free[..<count])) }
    return count
  }

  private func readBlock() throws {
    let count = try waiting ?? fill()
    waiting = nil
    isAtEnd = count == 0
    guard var parser else { return }
    self.parser = nil
    defer { self.parser = parser }
    cutter.take(count, isLast: isAtEnd) { line, offset in
      counts.lines += 1
      switch parser.parse(line.span, path: path, offset: offset) {
      case .ordinary: break
      case .malformed: counts.notParsed += 1
      case .request(let request, let time):
        counts.reported += 1
        ready.append(Observation(host: options.host, time: time, fact: .nginxRequest(request)))
      }
    }
    if isAtEnd { tellTotals(parser) }
  }

  private func tellTotals(_ parser: AccessLogParser) {
    let now = TimeEstimate(exactly: ready.last?.time.best ?? currentTime())
    for traffic in parser.traffic {
      ready.append(Observation(host: options.host, time: now, fact: .upstreamTraffic(traffic)))
    }
  }

  private func choose(_ block: UnsafeRawBufferPointer) throws {
    let lines = block.split(separator: 10, maxSplits: 200)
    // The last one may be cut.
    let whole = lines.count > 1 ? lines.dropLast() : lines[...]
    var best: (score: Int, parser: AccessLogParser)?
    for format in candidates {
      guard let scanner = AccessLogScanner(format),
        var parser = try? AccessLogParser(
          format, zone: options.zone, keepsQueryStrings: options.keepsQueryStrings)
      else { continue }
      let fits = whole.count { parser.parse(Array($0)) != .malformed }
      // A line that was written before a change of the format is no reason to give up.
      guard fits * 2 > whole.count else { continue }
      let score = fits * 100 + scanner.fields.count
      if score > best?.score ?? -1,
        let fresh = try? AccessLogParser(
          format, zone: options.zone, keepsQueryStrings: options.keepsQueryStrings)
      {
        best = (score, fresh)
      }
    }
    guard let best else {
      let names = candidates.map(\.name).joined(separator: ", ")
      throw ProbeError(
        doing: "read \(path)",
        reason:
          "its first lines are in none of the formats \(String(escapingControlsIn: names.utf8))",
        remedy: "give its log_format with --nginx-config or --log-format")
    }
    parser = best.parser
    parser?.watchedConnections = watchedConnections
  }
}

/// The books of an access log.
struct AccessLogCounts {
  var lines: UInt64 = 0
  var notParsed: UInt64 = 0
  /// Requests that mattered.
  var reported: UInt64 = 0

  var counters: Counters {
    Counters(
      source: "requests", seen: lines, lost: 0,
      details: ["not parsed": notParsed, "reported": reported])
  }
}
