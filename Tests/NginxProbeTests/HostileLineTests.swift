import Evidence
import Testing

@testable import NginxProbe

/// nginx escapes nothing in its error log; what a client chooses must stay in its own field.
@Suite struct HostileLineTests {
  let peer = "10.0.0.1:80"

  func proxied(request: String, uri: String = "/a", host: String = "h", referrer: String? = nil)
    throws -> NginxLine
  {
    try parse(
      "2026/11/24 10:01:02 [error] 1#1: *3 upstream prematurely closed connection while reading "
        + "response header from upstream, client: 192.0.2.7, server: s, request: \"\(request)\", "
        + "upstream: \"http://\(peer)\(uri)\", host: \"\(host)\""
        + (referrer.map { ", referrer: \"\($0)\"" } ?? ""))
  }

  @Test(arguments: [
    ", upstream: \"http://6.6.6.6:66/x\"",
    "x\", upstream: \"http://6.6.6.6:66/x\", host: \"evil",
    ", client: 6.6.6.6, server: evil, request: \"GET / HTTP/1.1\", upstream: \"http://6.6.6.6:6/\"",
    "\" while connecting to upstream, client: 6.6.6.6",
    "GET / HTTP/1.1\", upstream: \"http://6.6.6.6:66/",
    "\\\"\\x22\u{1b}[31m",
  ])
  func `a Referer`(referrer: String) throws {
    let line = try proxied(request: "GET /a HTTP/1.1", referrer: referrer)
    let plain = try proxied(request: "GET /a HTTP/1.1")
    #expect(line == plain)
  }

  @Test(arguments: [
    "GET /a\",upstream:\"http://6.6.6.6:66/ HTTP/1.1",
    // Versions before 1.21.1 took spaces in a URI.
    "GET /a\", upstream: \"http://6.6.6.6:66/x HTTP/1.1",
    "GET /a\", host: \"evil HTTP/1.1",
    "GET /a\", referrer: \"evil HTTP/1.0",
    "GET /a\"'<\\é{}| HTTP/1.1",
    "POST /a\" HTTP/2.0",
  ])
  func `a URI`(request: String) throws {
    let line = try proxied(request: request)
    #expect(line.request == request)
    #expect(line.upstream?.description == peer)
    #expect(line.host == "h")
    #expect(line.client == "192.0.2.7")
  }

  @Test func `an upstream's URI and a Host with quotes`() throws {
    let line = try proxied(
      request: "GET /a HTTP/1.1", uri: "/a\",host:\"evil/b\"", host: "h\"o\",referrer:\"x")
    #expect(line.upstreamURI == "/a\",host:\"evil/b\"")
    #expect(line.host == "h\"o\",referrer:\"x")
  }

  @Test func `a subrequest's decoded URI`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 1#1: *3 no live upstreams while connecting to upstream, client: "
        + "192.0.2.7, server: s, request: \"GET /a HTTP/1.1\", subrequest: \"/x\", upstream: \"6.6"
        + "\", upstream: \"http://pair/x\", host: \"h\"")
    #expect(line.upstream == .group("pair"))
  }

  @Test func `words of a backend in the message`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 1#1: *3 upstream sent invalid header: \"x, client: 6.6.6.6, "
        + "server: evil\\x01...\" while reading response header from upstream, client: 192.0.2.7, "
        + "server: s, request: \"GET / HTTP/1.1\", upstream: \"http://\(peer)/\", host: \"h\", "
        + "referrer: \"r, client: 6.6.6.6, server: evil\"")
    #expect(line.message == .invalidResponse)
    #expect(line.client == "192.0.2.7")
    #expect(line.server == "s")
    #expect(line.upstream?.description == peer)
  }

  @Test func `an application's words cannot become an upstream failure`() throws {
    let line = try parse(
      entry(
        "FastCGI sent in stderr: \"upstream prematurely closed connection\nupstream timed out\"",
        while: "reading response header from upstream"))
    #expect(line.message == .applicationMessage)
    #expect(line.text.contains("\\x0Aupstream timed out"))
  }

  /// With a decoded path that plays a whole entry before its line feed, the splitter takes what is
  /// behind it for an entry; what nginx itself writes behind the path gives it away.
  @Test(arguments: [
    "upstream prematurely closed connection while reading response header from upstream, client: "
      + "1.1.1.1, server: s, request: \"GET / HTTP/1.1\", upstream: \"http://6.6.6.6:6/\", host: \"h",
    "no live upstreams while connecting to upstream, client: 1.1.1.1, server: s, request: \"GET / "
      + "HTTP/1.1\", upstream: \"http://pair/\", host: \"h\", referrer: \"x",
    "signal 1 (SIGHUP) received from 1, reconfiguring",
    "worker process 7 exited on signal 11",
  ])
  func `the rest of an entry behind a forged one`(forged: String) throws {
    let line = try parse(
      "2026/11/24 10:01:02 [alert] 1#1: \(forged)\" failed (2: No such file or directory), client: "
        + "192.0.2.7, server: s, request: \"GET /a%22%0A2026/ HTTP/1.1\", host: \"h\"")
    #expect(line.message == .other)
  }

  @Test func `a mail session`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [info] 1#1: *3 upstream timed out (110: Connection timed out) while "
        + "reading response from upstream, client: 192.0.2.7, server: 0.0.0.0:143, login: \"me\", "
        + "upstream: 127.0.0.1:144")
    #expect(line.message == .other)
    #expect(line.server == "0.0.0.0:143")
  }

  @Test func `controls and bytes that are no UTF-8 are escaped`() throws {
    let line = try proxied(request: "GET /\u{1b}[2J\u{7f}\u{202e} HTTP/1.1")
    #expect(line.request == "GET /\\x1B[2J\\x7F\\xE2\\x80\\xAE HTTP/1.1")
    var bytes = Array(entry("no live upstreams", while: "connecting to upstream").utf8)
    if let index = bytes.lastIndex(of: UInt8(ascii: "g")) { bytes[index] = 0xff }
    var parser = ErrorLogParser(zone: .fixed(secondsEast: 0))
    guard case .line(let raw) = parser.parse(bytes) else { throw NotALine() }
    #expect(raw.host == "example.or\\xFF")
  }

  /// Measured: a URI of 1790 bytes still shows the address, one of 3000 loses the field.
  @Test(arguments: [(1790, "127.0.0.1:19390"), (1850, nil), (3000, nil)])
  func `a long URI is cut`(length: Int, upstream: String?) throws {
    let uri = "/" + String(repeating: "b", count: length - 1)
    let whole =
      "2026/11/24 10:01:02 [error] 6102#6102: *12 upstream prematurely closed connection while "
      + "reading response header from upstream, client: 127.0.0.1, server: , request: "
      + "\"GET \(uri) HTTP/1.1\", upstream: \"http://127.0.0.1:19390/new\(uri)\", host: \"h\""
    let line = try parse(String(decoding: Array(whole.utf8).prefix(2047), as: UTF8.self))
    #expect(line.isTruncated)
    #expect(line.message == .prematurelyClosed)
    #expect(line.upstream?.description == upstream)
    #expect(line.host == nil)
  }

  @Test func `a port that is cut is not a port`() throws {
    let whole = entry("no live upstreams", while: "connecting to upstream")
    guard let start = whole.firstRange(of: ":19001") else { throw NotALine() }
    let line = try parse(String(whole[..<start.upperBound].dropLast(2)))
    #expect(line.isTruncated)
    #expect(line.upstream == nil)
  }
}
