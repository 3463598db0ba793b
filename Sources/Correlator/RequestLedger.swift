import Evidence

/// What the access log says of requests whose tries failed, until the error lines of the same request
/// have their verdicts. nginx writes it at the request's end: before the verdict, or long after.
struct RequestLedger {
  /// `$connection` of the same client and worker, as `*N` in the error log.
  struct Key: Hashable {
    var worker: Int32?
    var connection: UInt64
    var request: String?
  }

  private var requests: [Key: NginxRequest] = [:]
  private var order: [Key] = []
  private let limit = 10_000

  mutating func add(_ request: NginxRequest) {
    guard let key = Self.key(request) else { return }
    if requests.updateValue(request, forKey: key) == nil { order.append(key) }
    if order.count > limit {
      for key in order.prefix(limit / 2) { requests[key] = nil }
      order.removeFirst(limit / 2)
    }
  }

  /// The request behind an error line. A log without `$pid` cannot tell two workers apart, but their
  /// connections are numbered by one counter.
  func request(of line: NginxLine) -> NginxRequest? {
    guard let connection = line.connection else { return nil }
    for worker in [line.worker, nil] {
      let key = Key(worker: worker, connection: connection, request: line.request)
      if let found = requests[key] { return found }
    }
    return nil
  }

  static func key(_ request: NginxRequest) -> Key? {
    request.connection.map {
      Key(worker: request.worker, connection: $0, request: request.request)
    }
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
}
