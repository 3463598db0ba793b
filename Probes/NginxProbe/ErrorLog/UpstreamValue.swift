import Evidence

/// What stands in `upstream: "..."`: SCHEME://PEER[:]URI, and in stream lines the peer alone.
struct UpstreamValue: Hashable {
  var scheme: String?
  var peer: UpstreamPeer?
  var uri: String?

  /// - Parameters:
  ///   - requestURI: the client's own URI, which ends the value where nothing else tells the path of
  ///     a UNIX socket from that of the request.
  ///   - isCut: the entry ended within the value, so a peer that touches the end is not whole.
  init(_ value: Substring, requestURI: Substring?, isCut: Bool) {
    var rest = value
    if let colon = rest.utf8.firstIndex(of: UInt8(ascii: ":")),
      rest[colon...].hasPrefix("://"), !rest[..<colon].isEmpty
    {
      scheme = String(rest[..<colon])
      rest = rest[colon...].dropFirst(3)
    }
    if rest.hasPrefix("unix:") {
      readUnix(rest.dropFirst(5), requestURI: requestURI, isCut: isCut)
      return
    }
    let end = rest.utf8.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") }
    if end == nil, isCut { return }
    let name = rest[..<(end ?? rest.endIndex)]
    peer = UpstreamPeer(String(name))
    if let end { uri = String(rest[end...]) }
  }

  /// A UNIX socket's path ends at a colon, which is missing in `upstream timed out` (nginx-1.22.1,
  /// src/http/ngx_http_upstream.c:4301-4307: the peer's address is forgotten before it is logged).
  private mutating func readUnix(_ rest: Substring, requestURI: Substring?, isCut: Bool) {
    if let colon = rest.utf8.firstIndex(of: UInt8(ascii: ":")) {
      peer = .unix(String(rest[..<colon]))
      let behind = rest[colon...].dropFirst()
      uri = behind.isEmpty ? nil : String(behind)
      return
    }
    if isCut { return }
    if let end = rest.rangeBehindSocketName {
      peer = .unix(String(rest[..<end]))
      uri = end == rest.endIndex ? nil : String(rest[end...])
    } else if let requestURI, !requestURI.isEmpty, requestURI != rest, rest.hasSuffix(requestURI) {
      peer = .unix(String(rest.dropLast(requestURI.count)))
      uri = String(requestURI)
    } else {
      peer = rest.isEmpty ? nil : .unix(String(rest))
    }
  }
}

extension Substring {
  /// Behind the first path component that is named as sockets are.
  fileprivate var rangeBehindSocketName: Index? {
    var start = startIndex
    while start < endIndex {
      let end = self[start...].dropFirst().firstIndex { $0 == "/" || $0 == "?" } ?? endIndex
      let component = self[start..<end]
      if component.hasSuffix(".sock") || component.hasSuffix(".socket") { return end }
      start = end
    }
    return nil
  }
}
