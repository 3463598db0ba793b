import Evidence

/// The requests that the access log told of, to be joined with their errors; old ones are forgotten.
struct AccessBook {
  struct Entry {
    var request: NginxRequest
    var time: TimeEstimate
  }

  private static let limit = 20_000
  /// How long after its error a request is waited for, where nothing says how long it took.
  private static let patience = TimeSpan.seconds(120)

  private var byConnection: [UInt64: [Entry]] = [:]
  /// Those without a connection's number, by their request line.
  private var byLine: [String: [Entry]] = [:]
  private var order: [(connection: UInt64?, line: String?)] = []
  private(set) var isEmpty = true

  mutating func add(_ request: NginxRequest, at time: TimeEstimate) {
    isEmpty = false
    let entry = Entry(request: request, time: time)
    if let connection = request.connection {
      byConnection[connection, default: []].append(entry)
    } else if let line = request.request {
      byLine[line, default: []].append(entry)
    } else {
      return
    }
    order.append((request.connection, request.request))
    guard order.count > Self.limit else { return }
    for old in order.prefix(Self.limit / 4) {
      if let connection = old.connection {
        Self.dropFirst(&byConnection, connection)
      } else if let line = old.line {
        Self.dropFirst(&byLine, line)
      }
    }
    order.removeFirst(Self.limit / 4)
  }

  private static func dropFirst<Key>(_ entries: inout [Key: [Entry]], _ key: Key) {
    guard let known = entries[key], known.count > 1 else {
      entries[key] = nil
      return
    }
    entries[key]?.removeFirst()
  }

  /// The request that an error line belongs to: by worker and connection where the format has them
  /// (exact: `$pid`, `$connection`), else by client, request line, upstream and time.
  func answer(to line: NginxLine, at time: TimeEstimate) -> NginxRequest? {
    guard !isEmpty else { return nil }
    if let connection = line.connection, let known = byConnection[connection],
      let found = first(of: known, for: line, at: time)
    {
      return found
    }
    return line.request.flatMap { byLine[$0] }.flatMap { first(of: $0, for: line, at: time) }
  }

  /// Whether a request may be an error's.
  static func fits(
    _ request: NginxRequest, _ end: TimeEstimate, _ line: NginxLine, _ time: TimeEstimate
  )
    -> Bool
  {
    if let worker = request.worker, worker != line.worker { return false }
    if let connection = request.connection, connection != line.connection { return false }
    if let client = request.client, let other = line.client, client != other { return false }
    // A line that was cut has not all of its request.
    if let text = request.request, let other = line.request, text != other,
      !(line.isTruncated && text.hasPrefix(other))
    {
      return false
    }
    if let peer = line.upstream, !request.tries.isEmpty, line.subrequest == nil,
      !request.tries.contains(where: { $0.peer == peer })
    {
      return false
    }
    // It ends with or after the error, and began before it.
    guard end.latest >= time.earliest - .milliseconds(2) else { return false }
    let took = request.duration.map { $0 + .seconds(3) } ?? patience
    return end.earliest - took <= time.latest
  }

  private func first(
    of entries: [Entry], for line: NginxLine, at time: TimeEstimate
  ) -> NginxRequest? {
    let fitting = entries.filter { Self.fits($0.request, $0.time, line, time) }
    // Where the same client asked the same twice in a second, the error is that of the failed try.
    let failed = fitting.first { entry in
      line.message.countsAsPeerFailure
        && entry.request.tries.contains { $0.peer == line.upstream && $0.failed }
    }
    return (failed ?? fitting.first)?.request
  }
}

extension NginxRequest {
  /// Whether another try followed the one that failed on this upstream.
  func wasRetried(after peer: UpstreamPeer?) -> Bool? {
    guard let peer, let index = tries.firstIndex(where: { $0.peer == peer && $0.failed }) else {
      return nil
    }
    return tries[(index + 1)...].contains { !$0.followsRedirect }
  }

  /// The only try that an error may be about; nil when several may be.
  func attempt(of line: NginxLine) -> UpstreamTry? {
    let same = tries.filter { $0.peer == line.upstream && ($0.failed || $0.status == nil) }
    if same.count == 1 { return same[0] }
    // In the body the try has the backend's own status.
    let others = tries.filter { $0.peer == line.upstream }
    return same.isEmpty && others.count == 1 ? others[0] : nil
  }
}
