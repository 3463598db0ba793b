import Evidence

/// What stands in `upstream: "..."`: SCHEME://PEER[:]URI, and in stream lines the peer alone.
struct UpstreamValue {
  var scheme: Range<Int>?
  var peer: UpstreamPeer?
  var uri: Range<Int>?

  /// - Parameters:
  ///   - range: the value, without its quotes.
  ///   - requestURI: the client's own URI, which ends the value where nothing else tells the path of
  ///     a UNIX socket from that of the request.
  ///   - isCut: the entry ended within the value, so a peer that touches the end is not whole.
  init(_ bytes: Span<UInt8>, _ range: Range<Int>, requestURI: Range<Int>?, isCut: Bool) {
    var start = range.lowerBound
    if let colon = bytes.first(UInt8(ascii: ":"), in: range), colon > start,
      colon + 3 <= range.upperBound, bytes.has("://", at: colon)
    {
      scheme = start..<colon
      start = colon + 3
    }
    let rest = start..<range.upperBound
    if bytes.has("unix:", at: start), start + 5 <= rest.upperBound {
      readUnix(bytes, start + 5..<rest.upperBound, requestURI, isCut)
      return
    }
    var end = rest.lowerBound
    while end < rest.upperBound, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?") {
      end += 1
    }
    if end == rest.upperBound, isCut { return }
    let name = start..<end
    peer = Endpoint(bytes, name).map { .tcp($0) } ?? UpstreamPeer(bytes.text(name))
    if end < rest.upperBound { uri = end..<rest.upperBound }
  }

  /// Where the peer's name stands in a value, for one that is not cut; nil for a UNIX socket whose
  /// end cannot be told.
  static func peerRange(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int>? {
    guard range.upperBound < bytes.count else { return nil }
    var start = range.lowerBound
    if let colon = bytes.first(UInt8(ascii: ":"), in: range), bytes.has("://", at: colon) {
      start = colon + 3
    }
    var end = start
    if bytes.has("unix:", at: start) {
      guard let colon = bytes.first(UInt8(ascii: ":"), in: start + 5..<range.upperBound) else {
        return nil
      }
      return start..<colon
    }
    bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      while end < range.upperBound, base[end] != 0x2f, base[end] != 0x3f { end += 1 }
    }
    return start < end ? start..<end : nil
  }

  /// A UNIX socket's path ends at a colon, which is missing in `upstream timed out` (nginx-1.22.1,
  /// src/http/ngx_http_upstream.c:4301-4307: the peer's address is forgotten before it is logged).
  private mutating func readUnix(
    _ bytes: Span<UInt8>, _ rest: Range<Int>, _ requestURI: Range<Int>?, _ isCut: Bool
  ) {
    var end = bytes.first(UInt8(ascii: ":"), in: rest)
    var uriStart = (end ?? 0) + 1
    if end == nil {
      if isCut { return }
      end = Self.endOfSocketName(bytes, rest)
      if end == nil, let requestURI, Self.ends(bytes, rest, with: requestURI) {
        end = rest.upperBound - requestURI.count
      }
      uriStart = end ?? rest.upperBound
    }
    let path = rest.lowerBound..<(end ?? rest.upperBound)
    if !path.isEmpty { peer = .unix(bytes.text(path)) }
    if uriStart < rest.upperBound { uri = uriStart..<rest.upperBound }
  }

  private static func ends(_ bytes: Span<UInt8>, _ rest: Range<Int>, with other: Range<Int>) -> Bool
  {
    guard !other.isEmpty, other.count < rest.count else { return false }
    let shift = rest.upperBound - other.upperBound
    return other.allSatisfy { bytes[$0] == bytes[$0 + shift] }
  }

  /// Behind the first path component that is named as sockets are.
  private static func endOfSocketName(_ bytes: Span<UInt8>, _ rest: Range<Int>) -> Int? {
    var start = rest.lowerBound
    while start < rest.upperBound {
      var end = start + 1
      while end < rest.upperBound, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?")
      {
        end += 1
      }
      let component = start..<end
      if component.count > 5, bytes.has(".sock", at: end - 5) { return end }
      if component.count > 7, bytes.has(".socket", at: end - 7) { return end }
      start = end
    }
    return nil
  }
}

extension Endpoint {
  /// `192.0.2.1:8080`, without the detour by a String: most upstreams are written so.
  fileprivate init?(_ bytes: Span<UInt8>, _ range: Range<Int>) {
    var position = range.lowerBound
    var address: UInt32 = 0
    for part in 0..<4 {
      guard let value = bytes.number(at: &position), value < 256, position < range.upperBound,
        bytes[position] == (part < 3 ? UInt8(ascii: ".") : UInt8(ascii: ":"))
      else { return nil }
      address = address << 8 | UInt32(value)
      position += 1
    }
    guard let port = bytes.number(at: &position), position == range.upperBound,
      let port = UInt16(exactly: port)
    else { return nil }
    self.init(address: IPAddress(v4: address), port: port)
  }
}
