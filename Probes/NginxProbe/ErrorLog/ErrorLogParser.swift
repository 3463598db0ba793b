public import Evidence

/// Takes entries of an nginx error log apart.
///
/// It only reads: a hostile line yields odd text (escaped), never another field's value, and garbage
/// yields nil.
public struct ErrorLogParser {
  /// Bytes of an entry that filled nginx's buffer (`NGX_MAX_ERROR_STR` 2048, less the line feed).
  public static let longestEntry = 2047

  /// Whether query strings stay in requests and upstream URIs; they may hold secrets.
  public var keepsQueryStrings: Bool
  /// The least urgent level that is kept.
  public var threshold: LogLevel
  private var clock: LogClock
  private var texts = TextCache()

  /// - Parameters:
  ///   - zone: whose local time the log is written in.
  ///   - threshold: lines of a less urgent level are not taken apart. By default all but `debug`.
  public init(
    zone: LogZone = .host, keepsQueryStrings: Bool = false, threshold: LogLevel = .info
  ) {
    self.keepsQueryStrings = keepsQueryStrings
    self.threshold = threshold
    clock = LogClock(zone)
  }

  /// What became of an entry.
  public enum Outcome: Hashable, Sendable {
    case line(NginxLine)
    /// A well-formed entry below the threshold.
    case skipped
    /// Not an entry of an error log.
    case malformed
  }

  /// Takes one entry apart.
  /// - Parameters:
  ///   - bytes: the entry without its last line feed; those within it are part of it.
  ///   - path: the log it came from.
  ///   - offset: where in the log its first byte is.
  ///   - arrival: when it was read, for a line that was read as it was written.
  public mutating func parse(
    _ bytes: Span<UInt8>, path: String = "", offset: UInt64 = 0, arrival: Timestamp? = nil
  ) -> Outcome {
    guard let level = EntryHeader.level(bytes) else { return .malformed }
    if level > threshold { return CivilTime(bytes) == nil ? .malformed : .skipped }
    guard let entry = ScannedEntry(bytes) else { return .malformed }
    return .line(line(entry, bytes, path: path, offset: offset, arrival: arrival))
  }

  /// What stands in an entry, as it is kept.
  mutating func line(
    _ entry: ScannedEntry, _ bytes: Span<UInt8>, path: String, offset: UInt64,
    arrival: Timestamp? = nil
  ) -> NginxLine {
    var line = NginxLine(
      message: entry.kind, text: texts.text(bytes, entry.context.message),
      level: entry.header.level.name,
      stamped: clock.moment(entry.header.time, arrival: arrival), worker: entry.header.pid,
      connection: entry.header.connection, errno: entry.errno,
      isTruncated: entry.context.isCut || bytes.count >= Self.longestEntry, path: path,
      offset: offset)
    fill(&line, bytes, entry.context)
    return line
  }

  /// The same for bytes in an array.
  public mutating func parse(
    _ bytes: [UInt8], path: String = "", offset: UInt64 = 0, arrival: Timestamp? = nil
  ) -> Outcome {
    parse(bytes.span, path: path, offset: offset, arrival: arrival)
  }

  private mutating func text(_ bytes: Span<UInt8>, _ range: Range<Int>?) -> String? {
    range.map { texts.text(bytes, $0) }
  }

  private mutating func fill(_ line: inout NginxLine, _ bytes: Span<UInt8>, _ context: EntryContext)
  {
    line.action = text(bytes, context.action)
    line.client = text(bytes, context.client)
    line.server = text(bytes, context.server)
    line.host = text(bytes, context.host)
    if let range = context.subrequest { line.subrequest = withoutQuery(bytes, range) }
    if let range = context.request { line.request = withoutQuery(bytes, range) }
    guard let range = context.upstream else { return }
    let value = UpstreamValue(
      bytes, range, requestURI: context.request.flatMap { Self.requestURI(bytes, $0) },
      isCut: range.upperBound == bytes.count)
    line.scheme = text(bytes, value.scheme)
    line.upstream = value.peer
    if let range = value.uri { line.upstreamURI = withoutQuery(bytes, range) }
  }

  /// The URI of a request line, with its query string.
  private static func requestURI(_ bytes: Span<UInt8>, _ request: Range<Int>) -> Range<Int>? {
    guard let space = bytes.first(UInt8(ascii: " "), in: request) else { return nil }
    let end = bytes.last(" HTTP/", in: request) ?? request.upperBound
    return space + 1 <= end ? space + 1..<end : nil
  }

  /// A request line, or a URI, without what is between `?` and the version.
  private mutating func withoutQuery(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
    guard !keepsQueryStrings, let mark = bytes.first(UInt8(ascii: "?"), in: range) else {
      return texts.text(bytes, range)
    }
    guard let version = bytes.last(" HTTP/", in: mark..<range.upperBound) else {
      return texts.text(bytes, range.lowerBound..<mark)
    }
    return texts.text(bytes, range.lowerBound..<mark, version..<range.upperBound)
  }
}
