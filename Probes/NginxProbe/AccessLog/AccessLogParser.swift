public import Evidence

/// Reads the lines of an access log by its format: all are counted by upstream, and those that
/// matter for an incident are taken apart.
public struct AccessLogParser {
  public let format: AccessLogFormat
  private let keepsQueryStrings: Bool
  private var scanner: AccessLogScanner
  private var table = TrafficTable()
  private var clock: LogClock
  /// `$connection` of requests that matter however they look: the error log has a line of them. A body
  /// without a length that was cut shows nothing here.
  public var watchedConnections: Set<UInt64> = [] {
    didSet { watchesAny = !watchedConnections.isEmpty }
  }
  private var watchesAny = false

  /// What became of a line.
  public enum Outcome: Hashable, Sendable {
    /// It matters: a try failed, the client left or got less than was promised.
    case request(NginxRequest, TimeEstimate)
    case ordinary
    /// Not of this format.
    case malformed
  }

  /// - Throws: `ConfigurationError` with the place of a format that cannot be read back: two variables
  ///   side by side.
  public init(
    _ format: AccessLogFormat, zone: LogZone = .host, keepsQueryStrings: Bool = false
  ) throws {
    guard let scanner = AccessLogScanner(format) else {
      throw ConfigurationError(
        file: format.directive?.file ?? "log_format \(format.name)", line: format.directive?.line,
        reason:
          "in log_format \(format.name) two variables stand side by side: nothing tells where "
          + "the first ends")
    }
    self.format = format
    self.keepsQueryStrings = keepsQueryStrings
    self.scanner = scanner
    clock = LogClock(zone)
  }

  /// What was counted since the last call, of each upstream the totals so far.
  public mutating func takeTraffic() -> [UpstreamTraffic] { table.takeNews() }

  /// Everything counted.
  public var traffic: [UpstreamTraffic] { table.all }

  /// Reads one line.
  /// - Parameters:
  ///   - bytes: without the line feed.
  ///   - arrival: when it was read, for a line that was read as it was written.
  public mutating func parse(
    _ bytes: Span<UInt8>, path: String = "", offset: UInt64 = 0, arrival: Timestamp? = nil
  ) -> Outcome {
    bytes.withUnsafeBufferPointer { line in
      guard scanner.scan(line), let base = line.baseAddress else { return .malformed }
      guard let address = scanner[.address], !Self.isNone(base, address) else {
        return outcomeWithoutUpstream(line)
      }
      let status = scanner[.status].flatMap { Self.integer(base, $0) } ?? 200
      let isSingle = !Self.isList(base, address)
      let isWatched = isWatched(base)
      if isSingle, countSingle(base, address), !isOdd(base, status), !isWatched { return .ordinary }
      var request = self.request(line, status)
      request.path = path
      request.offset = offset
      if !isSingle { countAll(request, line) }
      guard isWatched || matters(request) else { return .ordinary }
      return .request(request, time(line, arrival))
    }
  }

  /// The same for bytes in an array.
  public mutating func parse(_ bytes: [UInt8], arrival: Timestamp? = nil) -> Outcome {
    parse(bytes.span, arrival: arrival)
  }

  /// When the request of a line ended at the latest; nil when the line does not tell.
  func end(ofRequest line: [UInt8]) -> Timestamp? {
    var copy = self
    return line.withUnsafeBufferPointer { line in
      guard copy.scanner.scan(line),
        [.msec, .timeISO, .timeLocal].contains(where: { copy.scanner[$0] != nil })
      else { return nil }
      return copy.time(line, nil).latest
    }
  }

  private func outcomeWithoutUpstream(_ line: UnsafeBufferPointer<UInt8>) -> Outcome {
    // Without a status that is a number the line belongs to another format.
    guard let range = scanner[.status], let base = line.baseAddress else { return .ordinary }
    return Self.integer(base, range) == nil ? .malformed : .ordinary
  }

  // MARK: Counting

  /// Counts a request with one try.
  /// - Returns: whether that try went well.
  private mutating func countSingle(_ base: UnsafePointer<UInt8>, _ address: Range<Int>) -> Bool {
    let status = scanner[.upstreamStatus].flatMap { Self.integer(base, $0) }
    let failed = status == 502 || status == 504
    let connect = scanner[.connectTime].flatMap { Self.milliseconds(base, $0) }
    let header = scanner[.headerTime].flatMap { Self.milliseconds(base, $0) }
    let response = scanner[.responseTime].flatMap { Self.milliseconds(base, $0) }
    let size = scanner[.requestLength].flatMap { Self.integer(base, $0) }
    let name = UnsafeBufferPointer(start: base + address.lowerBound, count: address.count)
    guard let totals = table.totals(name) else { return !failed }
    totals.pointee.tries += 1
    if failed { totals.pointee.failures += 1 }
    if let connect { totals.pointee.connect.record(connect) }
    if let header { totals.pointee.header.record(header) }
    if let response { totals.pointee.response.record(response) }
    if let size {
      if failed {
        totals.pointee.failedBytes.record(size)
      } else {
        totals.pointee.succeededBytes.record(size)
      }
    }
    return !failed
  }

  private mutating func countAll(_ request: NginxRequest, _ line: UnsafeBufferPointer<UInt8>) {
    let succeeded = !(request.tries.last?.failed ?? true)
    let size = line.baseAddress.flatMap { base in
      scanner[.requestLength].flatMap { Self.integer(base, $0) }
    }
    for attempt in request.tries {
      guard let peer = attempt.peer else { continue }
      let found = Array(peer.description.utf8).withUnsafeBufferPointer { table.totals($0) }
      guard let totals = found else { continue }
      totals.pointee.tries += 1
      if attempt.failed {
        totals.pointee.failures += 1
        if succeeded { totals.pointee.hidden += 1 }
      }
      if let time = attempt.connectTime {
        totals.pointee.connect.record(Self.milliseconds(time))
      }
      if let time = attempt.headerTime {
        totals.pointee.header.record(Self.milliseconds(time))
      }
      if let time = attempt.responseTime {
        totals.pointee.response.record(Self.milliseconds(time))
      }
      if let size {
        if attempt.failed {
          totals.pointee.failedBytes.record(size)
        } else {
          totals.pointee.succeededBytes.record(size)
        }
      }
    }
  }

  private static func milliseconds(_ time: TimeSpan) -> Int { Int(time.nanoseconds / 1_000_000) }

  // MARK: What matters

  private func isWatched(_ base: UnsafePointer<UInt8>) -> Bool {
    guard watchesAny, let connection = scanner[.connection].flatMap({ Self.integer(base, $0) })
    else { return false }
    return watchedConnections.contains(UInt64(connection))
  }

  /// Whether a request whose only try went well may matter all the same; cheap, and asked of every
  /// line.
  private func isOdd(_ base: UnsafePointer<UInt8>, _ status: Int) -> Bool {
    if status == 499 || status < 100 || status == 502 || status == 504 { return true }
    guard let length = scanner[.contentLength].flatMap({ Self.integer(base, $0) }),
      let body = scanner[.body].flatMap({ Self.integer(base, $0) })
    else { return false }
    return body < length
  }

  private func matters(_ request: NginxRequest) -> Bool {
    request.tries.contains { $0.failed } || request.status == 499 || request.status < 100
      || request.status == 502 || request.status == 504 || request.isCut
  }

  // MARK: Taking apart

  private func request(_ line: UnsafeBufferPointer<UInt8>, _ status: Int) -> NginxRequest {
    guard let base = line.baseAddress else { return NginxRequest(status: status) }
    func number(_ field: AccessField) -> Int? { scanner[field].flatMap { Self.integer(base, $0) } }
    var request = NginxRequest(status: status)
    request.worker = number(.worker).flatMap(Int32.init(exactly:))
    request.connection = number(.connection).map(UInt64.init)
    request.connectionRequests = number(.connectionRequests)
    request.client = scanner[.client].map { Self.text(base, $0) }
    request.request = requestLine(base)
    request.bodyBytesSent = number(.body).map(UInt64.init)
    request.contentLength = number(.contentLength).map(UInt64.init)
    request.duration = scanner[.requestTime].flatMap { Self.milliseconds(base, $0) }
      .map { .milliseconds(Int64($0)) }
    request.tries = TryList(base, scanner).tries
    return request
  }

  private func requestLine(_ base: UnsafePointer<UInt8>) -> String? {
    if let range = scanner[.request] { return withoutQuery(base, range) }
    guard let method = scanner[.method], let uri = scanner[.uri] else { return nil }
    return Self.text(base, method) + " " + withoutQuery(base, uri)
  }

  /// A request line, or a URI, without what is between `?` and the version.
  private func withoutQuery(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> String {
    guard !keepsQueryStrings,
      let mark = range.first(where: { base[$0] == UInt8(ascii: "?") })
    else { return Self.text(base, range) }
    let line = UnsafeBufferPointer(start: base, count: range.upperBound).span
    guard let version = line.last(" HTTP/", in: mark..<range.upperBound) else {
      return Self.text(base, range.lowerBound..<mark)
    }
    return Self.text(base, range.lowerBound..<mark) + Self.text(base, version..<range.upperBound)
  }

  /// When the request ended, by nginx's cached clock: never later than the truth.
  private mutating func time(
    _ line: UnsafeBufferPointer<UInt8>, _ arrival: Timestamp?
  ) -> TimeEstimate {
    guard let base = line.baseAddress else {
      return TimeEstimate(exactly: arrival ?? Timestamp(seconds: 0))
    }
    if let range = scanner[.msec], let milliseconds = Self.milliseconds(base, range) {
      let time = Timestamp(nanoseconds: Int64(milliseconds) * 1_000_000)
      let latest = time + .milliseconds(1) + TimeEstimate.stallAllowance
      return TimeEstimate(
        best: time, earliest: time, latest: min(latest, max(arrival ?? latest, time)))
    }
    let stamp: Timestamp? =
      if let range = scanner[.timeISO] { Timestamp(iso8601: Self.text(base, range)) } else {
        scanner[.timeLocal].flatMap { Timestamp(accessLog: Self.text(base, $0)) }
      }
    guard let stamp else {
      return TimeEstimate(exactly: arrival ?? Timestamp(seconds: 0))
    }
    return TimeEstimate(stamped: stamp, notAfter: arrival)
  }
}

// MARK: Bytes

extension AccessLogParser {
  /// `-`, or nothing (escape=json and none).
  static func isNone(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> Bool {
    range.isEmpty || range.count == 1 && base[range.lowerBound] == UInt8(ascii: "-")
  }

  static func isList(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> Bool {
    // Both separators have a space, and no address has.
    for position in range where base[position] == 0x20 { return true }
    return false
  }

  /// A whole number without a sign; nil for anything else.
  static func integer(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> Int? {
    guard !range.isEmpty, range.count <= 18 else { return nil }
    var value = 0
    for position in range {
      let digit = base[position] &- 48
      guard digit < 10 else { return nil }
      value = value &* 10 &+ Int(digit)
    }
    return value
  }

  /// `0.123` in milliseconds; nil for `-` and anything else.
  static func milliseconds(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> Int? {
    guard range.count >= 5, range.count <= 18, base[range.upperBound - 4] == UInt8(ascii: ".")
    else {
      return nil
    }
    guard let whole = integer(base, range.lowerBound..<range.upperBound - 4),
      let rest = integer(base, range.upperBound - 3..<range.upperBound)
    else { return nil }
    return whole * 1000 + rest
  }

  static func text(_ base: UnsafePointer<UInt8>, _ range: Range<Int>) -> String {
    UnsafeBufferPointer(start: base, count: range.upperBound).span.text(range)
  }
}

extension Timestamp {
  /// Reads `24/Nov/2026:10:01:02 +0100` (`$time_local`); nil for anything else.
  init?(accessLog text: String) {
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    let bytes = Array(text.utf8)
    guard bytes.count == 26 else { return nil }
    func number(_ range: Range<Int>) -> Int? {
      bytes.withUnsafeBufferPointer { buffer in
        buffer.baseAddress.flatMap { AccessLogParser.integer($0, range) }
      }
    }
    guard let day = number(0..<2),
      let month = months.firstIndex(of: String(decoding: bytes[3..<6], as: UTF8.self)),
      let year = number(7..<11), let hour = number(12..<14), let minute = number(15..<17),
      let second = number(18..<20), let east = number(22..<24), let minutes = number(24..<26)
    else { return nil }
    let offset = (east * 60 + minutes) * 60 * (bytes[21] == UInt8(ascii: "-") ? -1 : 1)
    let local = Timestamp(
      year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second)
    self = local - .seconds(Int64(offset))
  }
}
