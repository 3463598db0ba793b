import Evidence
import Testing

@testable import NginxProbe

/// The grammar of nginx-1.22.1: src/core/ngx_log.c, src/http/ngx_http_request.c,
/// src/stream/ngx_stream_handler.c.
@Suite struct ErrorLineTests {
  let stamp = Timestamp(year: 2026, month: 11, day: 24, hour: 10, minute: 1, second: 2)

  @Test func `every field of a proxied request`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 4711#4711: *12 recv() failed (104: Connection reset by peer) "
        + "while reading response header from upstream, client: 192.0.2.7, server: example.org, "
        + "request: \"POST /old/x?y=1&token=s3cret HTTP/1.1\", "
        + "upstream: \"http://10.0.1.11:8080/new/x?y=1\", host: \"example.org:81\", "
        + "referrer: \"http://r/\"")
    #expect(
      line
        == NginxLine(
          message: .recvFailed, text: "recv() failed", level: "error", stamped: stamp,
          worker: 4711, connection: 12, errno: 104,
          action: "reading response header from upstream", client: "192.0.2.7",
          server: "example.org", request: "POST /old/x HTTP/1.1", scheme: "http",
          upstream: .tcp(Endpoint(address: IPAddress(v4: 0x0a00_010b), port: 8080)),
          upstreamURI: "/new/x", host: "example.org:81"))
    #expect(line.upstreamRequest == "POST /new/x")
  }

  @Test func `query strings stay when they are asked for`() throws {
    let text = entry("no live upstreams", while: "connecting to upstream")
      .replacing("GET /r HTTP", with: "GET /r?a=1 HTTP").replacing("19001/r", with: "19001/r?a=1")
    let line = try parse(text, keepsQueryStrings: true)
    #expect(line.request == "GET /r?a=1 HTTP/1.1")
    #expect(line.upstreamURI == "/r?a=1")
  }

  @Test func `a server without a name, and a UNIX client`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 1#2: *3 connect() failed (111: Connection refused) while "
        + "connecting to upstream, client: unix:, server: , request: \"GET / HTTP/1.0\", "
        + "upstream: \"http://[::1]:19390/v6/a\"")
    #expect(line.client == "unix:")
    #expect(line.server == "")
    #expect(line.upstream?.description == "[::1]:19390")
    #expect(line.upstreamURI == "/v6/a")
    #expect(line.host == nil)
  }

  @Test func `no action`() throws {
    let line = try parse(entry("no resolver defined to resolve backend.local", upstream: nil))
    #expect(line.message == .nameResolutionFailed)
    #expect(line.text == "no resolver defined to resolve backend.local")
    #expect(line.action == nil)
  }

  @Test func `a line of no connection`() throws {
    let line = try parse("2026/11/24 10:01:02 [notice] 7#7: start worker process 4711")
    #expect(
      line
        == NginxLine(
          message: .lifecycle, text: "start worker process 4711", level: "notice", stamped: stamp,
          worker: 7))
  }

  @Test(arguments: [
    ("http://127.0.0.1:19001/r?x", "http", "127.0.0.1:19001", "/r"),
    ("https://192.0.2.1:443/", "https", "192.0.2.1:443", "/"),
    ("http://[2001:db8::1]:80/a", "http", "[2001:db8::1]:80", "/a"),
    ("http://unix:/run/be.sock:/some/a?q=1", "http", "unix:/run/be.sock", "/some/a"),
    ("http://unix:/run/hang.sock/uxh/a", "http", "unix:/run/hang.sock", "/uxh/a"),
    ("http://unix:/run/noname/r", "http", "unix:/run/noname", "/r"),
    ("fastcgi://127.0.0.1:9000", "fastcgi", "127.0.0.1:9000", nil),
    ("fastcgi://unix:/run/php.sock:", "fastcgi", "unix:/run/php.sock", nil),
    ("uwsgi://10.0.0.1:3031", "uwsgi", "10.0.0.1:3031", nil),
    ("suwsgi://10.0.0.1:3031", "suwsgi", "10.0.0.1:3031", nil),
    ("scgi://10.0.0.1:4000", "scgi", "10.0.0.1:4000", nil),
    ("grpc://10.0.0.1:50051", "grpc", "10.0.0.1:50051", nil),
    ("grpcs://10.0.0.1:50051", "grpcs", "10.0.0.1:50051", nil),
    ("memcached://10.0.0.1:11211", "memcached", "10.0.0.1:11211", nil),
    ("http://dead2/dead2/2", "http", "dead2", "/dead2/2"),
    ("http://localhost/impl/2", "http", "localhost", "/impl/2"),
    ("127.0.0.1:8083", nil, "127.0.0.1:8083", nil),
    ("unix:/path", nil, "unix:/path", nil),
  ])
  func `an upstream`(value: String, scheme: String?, peer: String, uri: String?) throws {
    let line = try parse(
      entry(
        "upstream timed out (110: Connection timed out)", while: "connecting to upstream",
        upstream: value))
    #expect(line.scheme == scheme)
    #expect(line.upstream?.description == peer)
    #expect(line.upstreamURI == uri)
  }

  @Test func `a stream session`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 5#5: *9 recv() failed (111: Connection refused) while proxying "
        + "and reading from upstream, udp client: 192.0.2.7, server: 0.0.0.0:53, "
        + "upstream: \"127.0.0.1:8083\", bytes from/to client:10/0, bytes from/to upstream:0/10")
    #expect(line.message == .streamFailed)
    #expect(line.client == "192.0.2.7")
    #expect(line.server == "0.0.0.0:53")
    #expect(line.upstream?.description == "127.0.0.1:8083")
    #expect(line.scheme == nil)
    #expect(!line.isTruncated)
  }

  @Test func `errors of OpenSSL stay in the text`() throws {
    let line = try parse(
      entry(
        "SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)",
        while: "SSL handshaking to upstream"))
    #expect(line.message == .tlsHandshakeFailed)
    #expect(line.errno == nil)
    #expect(
      line.text
        == "SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)")
    let reset = try parse(
      entry(
        "SSL_read() failed (SSL: error:0A000126:SSL routines::unexpected eof while reading) "
          + "(104: Connection reset by peer)", while: "reading response header from upstream"))
    #expect(reset.message == .tlsTransferFailed)
    #expect(reset.errno == 104)
    #expect(reset.action == "reading response header from upstream")
  }

  @Test func `a subrequest`() throws {
    let line = try parse(
      "2026/11/24 10:01:02 [error] 1#1: *3 connect() failed (111: Connection refused) while "
        + "connecting to upstream, client: 192.0.2.7, server: s, request: \"GET / HTTP/1.1\", "
        + "subrequest: \"/auth\", upstream: \"http://127.0.0.1:1/auth\", host: \"s\"")
    #expect(line.subrequest == "/auth")
    #expect(line.upstream?.description == "127.0.0.1:1")
  }

  @Test func `garbage is no entry`() {
    var parser = ErrorLogParser(zone: .fixed(secondsEast: 0))
    for text in [
      "", "\n", "hello", "2026/11/24 10:01:02", "2026/11/24 10:01:02 [", "2026/11/24 10:01:02 [e",
      "2026/11/24 10:01:02 [error]", "2026/11/24 10:01:02 [error] ",
      "2026/11/24 10:01:02 [error] x",
      "2026/11/24 10:01:02 [error] 1", "2026/11/24 10:01:02 [error] 1#",
      "2026/11/24 10:01:02 [error] 1#2", "2026/13/24 10:01:02 [error] 1#2: x",
      "2026/11/24 10:01:02 [error] 99999999999999999999#2: x", "2026/11/24 10:01:02 [wrong] 1#2: x",
      "2026-11-24 10:01:02 [error] 1#2: x", "127.0.0.1 - - [24/Nov/2026:10:01:02 +0000] \"GET /\"",
    ] {
      let outcome = parser.parse(Array(text.utf8))
      #expect(outcome == .malformed, "\(text)")
    }
    let debug = parser.parse(Array("2026/11/24 10:01:02 [debug] 1#2: x".utf8))
    #expect(debug == .skipped)
  }

  @Test func `no byte at any place makes it trap`() {
    var parser = ErrorLogParser(zone: .fixed(secondsEast: 0), threshold: .debug)
    let good = Array(
      entry("connect() failed (111: Connection refused)", while: "connecting to upstream").utf8)
    for length in 0...good.count { _ = parser.parse(Array(good[..<length])) }
    for index in good.indices {
      for byte: UInt8 in [0, 10, 0x20, 0x22, 0x28, 0x2c, 0x3a, 0x5c, 0x80, 0xff] {
        var bad = good
        bad[index] = byte
        _ = parser.parse(bad)
        bad.remove(at: index)
        _ = parser.parse(bad)
      }
    }
  }
}
