import Evidence

/// The tries of a request, from the lists that its `$upstream_*` variables are (nginx-1.22.1,
/// src/http/ngx_http_upstream.c:5414-5695): joined by `, `, and by ` : ` after an internal redirect.
struct TryList {
  private(set) var tries: [UpstreamTry] = []

  init(_ base: UnsafePointer<UInt8>, _ scanner: AccessLogScanner) {
    guard let address = scanner[.address] else { return }
    for item in Self.items(base, address) {
      var attempt = UpstreamTry(followsRedirect: item.followsRedirect)
      attempt.peer = UpstreamPeer(AccessLogParser.text(base, item.range))
      tries.append(attempt)
    }
    func fill(_ field: AccessField, _ set: (inout UpstreamTry, Range<Int>) -> Void) {
      guard let range = scanner[field] else { return }
      for (index, item) in Self.items(base, range).enumerated() where index < tries.count {
        set(&tries[index], item.range)
      }
    }
    func time(_ range: Range<Int>) -> TimeSpan? {
      AccessLogParser.milliseconds(base, range).map { .milliseconds(Int64($0)) }
    }
    fill(.upstreamStatus) { $0.status = AccessLogParser.integer(base, $1) }
    fill(.connectTime) { $0.connectTime = time($1) }
    fill(.headerTime) { $0.headerTime = time($1) }
    fill(.responseTime) { $0.responseTime = time($1) }
    fill(.bytesSent) { $0.bytesSent = AccessLogParser.integer(base, $1).map(UInt64.init) }
    fill(.bytesReceived) { $0.bytesReceived = AccessLogParser.integer(base, $1).map(UInt64.init) }
    // Without the statuses nothing says that a try failed but that another one followed.
    if scanner[.upstreamStatus] == nil {
      for index in tries.indices {
        let isLast = index == tries.count - 1 || tries[index + 1].followsRedirect
        tries[index].status = isLast ? 200 : 502
      }
    }
  }

  private static func items(
    _ base: UnsafePointer<UInt8>, _ range: Range<Int>
  ) -> [(range: Range<Int>, followsRedirect: Bool)] {
    var items: [(Range<Int>, Bool)] = []
    var start = range.lowerBound
    var isRedirect = false
    var position = start
    while position < range.upperBound {
      if base[position] == 0x2c, position + 1 < range.upperBound, base[position + 1] == 0x20 {
        items.append((start..<position, isRedirect))
        isRedirect = false
        start = position + 2
        position = start
      } else if base[position] == 0x20, position + 2 < range.upperBound,
        base[position + 1] == 0x3a, base[position + 2] == 0x20
      {
        items.append((start..<position, isRedirect))
        isRedirect = true
        start = position + 3
        position = start
      } else {
        position += 1
      }
    }
    items.append((start..<range.upperBound, isRedirect))
    return items
  }
}
