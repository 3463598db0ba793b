import Evidence

/// The fields behind an entry's message, as ranges of its bytes.
///
/// nginx escapes nothing here, so a request line, a Host or a Referer may hold whatever looks like
/// another field. What makes the reading safe is nginx's fixed order of fields (nginx-1.22.1,
/// src/http/ngx_http_request.c:3791-3894, src/stream/ngx_stream_handler.c:359-385): each is read from
/// the left, and the first thing that can end it ends it. Since 1.21.1 neither a request line nor a
/// Host can contain the space that the name of a next field needs; the Referer, which can, comes
/// last.
struct EntryContext: Hashable {
  /// The message with its errno, before ` while `.
  var message: Range<Int>
  var action: Range<Int>?
  var client: Range<Int>?
  var server: Range<Int>?
  var request: Range<Int>?
  var subrequest: Range<Int>?
  var upstream: Range<Int>?
  var host: Range<Int>?
  /// `bytes from/to client` follows: a session of the stream module.
  var isStream = false
  /// A quote that is never closed: the entry was cut.
  var isCut = false

  /// Of fields that were found elsewhere.
  init(message: Range<Int>) { self.message = message }

  /// - Parameter fixedEnd: where the message's fixed text ends, when it has no foreign words.
  init(_ bytes: Span<UInt8>, message start: Int, fixedEnd: Int?) {
    let all = start..<bytes.count
    message = all
    guard let client = Self.client(bytes, all, fixedEnd: fixedEnd) else {
      splitAction(bytes, from: fixedEnd ?? start, isFixed: fixedEnd != nil)
      return
    }
    message = start..<client.name
    splitAction(bytes, from: fixedEnd ?? start, isFixed: fixedEnd != nil)
    readFields(bytes, from: client.value)
  }

  /// Where the fields start: at `, client: ` (or `, udp client: `), and where its value does.
  ///
  /// Behind a fixed text it is the first; behind foreign words (of a backend, an application, a
  /// path) it is the last one before the Referer, so that a Referer cannot be taken for it.
  private static func client(
    _ bytes: Span<UInt8>, _ all: Range<Int>, fixedEnd: Int?
  ) -> (name: Int, value: Int)? {
    let end =
      fixedEnd == nil
      ? bytes.first(", referrer: \"", in: all) ?? all.upperBound
      : all.upperBound
    var found: (Int, Int)?
    var position = fixedEnd ?? all.lowerBound
    while let comma = bytes.first(UInt8(ascii: ","), in: position..<end) {
      position = comma + 1
      if bytes.has(" client: ", at: position) {
        found = (comma, position + 9)
      } else if bytes.has(" udp client: ", at: position) {
        found = (comma, position + 13)
      } else {
        continue
      }
      if fixedEnd != nil { break }
    }
    return found
  }

  private mutating func splitAction(_ bytes: Span<UInt8>, from: Int, isFixed: Bool) {
    // Behind a fixed text stands at most an errno; foreign words may themselves say `while`.
    let range = from..<message.upperBound
    guard
      let found = isFixed ? bytes.first(" while ", in: range) : bytes.last(" while ", in: range)
    else { return }
    let words = found + 7..<message.upperBound
    // Letters, digits, spaces and the slash of `HTTP/2`: an action is one of nginx's own words.
    let isAction = bytes.all(words) { byte in
      byte == 0x20 || (0x2f...0x39).contains(byte) || (0x41...0x5a).contains(byte)
        || (0x61...0x7a).contains(byte)
    }
    guard isAction else { return }
    guard !words.isEmpty, words.count <= 80 else { return }
    action = words
    message = message.lowerBound..<found
  }

  private mutating func readFields(_ bytes: Span<UInt8>, from start: Int) {
    let end = bytes.count
    guard let name = bytes.first(", server: ", in: start..<end) else {
      client = start..<end
      isCut = true
      return
    }
    client = start..<name
    var position = name + 10
    let serverStart = position
    while position < end {
      position = bytes.first(UInt8(ascii: ","), in: position..<end) ?? end
      if position == end || Self.field(bytes, at: position) != nil { break }
      position += 1
    }
    server = serverStart..<position
    while let next = Self.field(bytes, at: position) {
      let value = position + next.length
      switch next.name {
      case .request:
        request = value..<Self.requestEnd(bytes, from: value)
        position = request?.upperBound ?? end
      case .subrequest:
        subrequest = value..<Self.end(bytes, from: value, before: .subrequest)
        position = subrequest?.upperBound ?? end
      case .upstream:
        upstream = value..<Self.end(bytes, from: value, before: .upstream)
        position = upstream?.upperBound ?? end
      case .host:
        host = value..<Self.end(bytes, from: value, before: .host)
        position = host?.upperBound ?? end
      case .bytes:
        isStream = true
        return
      // Of the mail module, whose upstream behind it is not quoted.
      case .login: return
      case .referrer:
        isCut = end > value ? bytes[end - 1] != UInt8(ascii: "\"") : true
        return
      }
      if position == end {
        isCut = true
        return
      }
      position += 1
    }
  }

  /// Whether these fields stand within another entry's message, put there by a client.
  ///
  /// nginx logs a request's path decoded (`open() "/srv/..." failed`), so a path with an encoded line
  /// feed can look like a line of its own, with any fields. But what nginx writes behind the path
  /// follows on the same line, and that has the true request, in which the line feed is encoded.
  func isForged(_ bytes: Span<UInt8>) -> Bool {
    guard let client else { return false }
    let rest = client.upperBound..<bytes.count
    guard let second = bytes.first(", client: ", in: rest),
      let request = bytes.first(", request: \"", in: second..<bytes.count)
    else { return false }
    let behind = request..<bytes.count
    return bytes.first("%0A", in: behind) != nil || bytes.first("%0a", in: behind) != nil
  }

  private enum Field: Int {
    case request, subrequest, upstream, host, referrer, bytes, login
  }

  /// The field whose name stands here, and the length of the name with its quote.
  private static func field(_ bytes: Span<UInt8>, at position: Int) -> (name: Field, length: Int)? {
    guard bytes.has(", ", at: position), position + 2 < bytes.count else { return nil }
    switch bytes[position + 2] {
    case UInt8(ascii: "r"):
      if bytes.has(", request: \"", at: position) { return (.request, 12) }
      if bytes.has(", referrer: \"", at: position) { return (.referrer, 13) }
    case UInt8(ascii: "s"):
      if bytes.has(", subrequest: \"", at: position) { return (.subrequest, 15) }
    case UInt8(ascii: "u"):
      if bytes.has(", upstream: \"", at: position) { return (.upstream, 13) }
    case UInt8(ascii: "h"):
      if bytes.has(", host: \"", at: position) { return (.host, 9) }
    case UInt8(ascii: "l"):
      if bytes.has(", login: \"", at: position) { return (.login, 10) }
    case UInt8(ascii: "b"):
      if bytes.has(", bytes from/to client:", at: position) { return (.bytes, 23) }
    default: break
    }
    return nil
  }

  /// Where a quoted value ends: at the first quote behind which the entry ends or a later field
  /// starts; the end of the entry when it was cut.
  private static func end(_ bytes: Span<UInt8>, from start: Int, before current: Field) -> Int {
    var position = start
    while let quote = bytes.first(UInt8(ascii: "\""), in: position..<bytes.count) {
      if closes(bytes, quote, current) { return quote }
      position = quote + 1
    }
    return bytes.count
  }

  private static func closes(_ bytes: Span<UInt8>, _ quote: Int, _ current: Field) -> Bool {
    if quote + 1 == bytes.count { return true }
    guard let next = field(bytes, at: quote + 1), next.name.rawValue > current.rawValue else {
      return false
    }
    // A subrequest's URI is decoded and may hold anything; the true upstream has a scheme.
    guard current == .subrequest, next.name == .upstream else { return true }
    let value = quote + 1 + next.length
    guard let colon = bytes.first(UInt8(ascii: ":"), in: value..<min(value + 12, bytes.count))
    else { return false }
    return bytes.has("://", at: colon)
  }

  /// Where a request line ends. ` HTTP/` with a digit stands in it once, at its end, also in those
  /// versions that took spaces in a URI; so a quote before it belongs to the URI.
  private static func requestEnd(_ bytes: Span<UInt8>, from start: Int) -> Int {
    if let version = bytes.first(" HTTP/", in: start..<bytes.count) {
      var position = version + 6
      while position < bytes.count, (0x2e...0x39).contains(bytes[position]) { position += 1 }
      while position < bytes.count, bytes[position] == 0x20 { position += 1 }
      if position == bytes.count { return position }
      if bytes[position] == UInt8(ascii: "\""), closes(bytes, position, .request) {
        return position
      }
    }
    return end(bytes, from: start, before: .request)
  }
}
