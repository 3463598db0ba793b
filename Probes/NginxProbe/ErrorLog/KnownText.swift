import Evidence

/// The texts of nginx's source that mean something for an upstream, before the action and the level
/// tell which of its meanings applies. Taken from nginx-1.22.1 and 1.31.5-dev; the source file is
/// named where it is not `src/http/ngx_http_upstream.c`.
enum KnownText {
  /// `connect() failed`, also `kevent() reported that connect() failed`.
  case connect
  /// `connect() to PEER failed` (src/event/ngx_event_connect.c).
  case connectTo
  /// `bind(ADDR) failed`, `socket() failed`, `N worker_connections are not enough`.
  case bind, socket, workerConnections
  /// `upstream timed out`; of stream also `connection timed out`.
  case upstreamTimedOut, connectionTimedOut
  case noLiveUpstreams, temporarilyDisabled
  case nameResolution, noPort
  /// `peer closed connection in SSL handshake`, `SSL_do_handshake() failed`
  /// (src/event/ngx_event_openssl.c).
  case tlsClosed, tlsHandshake, tlsCertificate, tlsRead, tlsWrite
  /// `send()`, `writev()`, `sendfile()`, `sendmsg()` failed, and `recv()`, `readv()` (src/os/unix).
  case write, read
  case prematurelyClosed, prematureResponse
  /// `kevent() reported that upstream closed connection` (src/event/ngx_event_pipe.c).
  case upstreamClosed
  case headerTooBig, invalidResponse, noValidHeader, protocolError, invalidChunked, extraData
  case upgradeInSubrequest
  /// src/stream/ngx_stream_proxy_module.c.
  case streamError, streamEnded
  /// `... reported that client prematurely closed connection ...`, and the same without `reported`.
  case clientReported, clientClosed
  /// `FastCGI sent in stderr: "` (src/http/modules/ngx_http_fastcgi_module.c).
  case stderr
  /// src/os/unix/ngx_process.c, ngx_process_cycle.c, src/core/ngx_cycle.c.
  case reload, lifecycle, crashed, reopening
}

/// A known text, and whether it may contain what others wrote (a header of the backend, the words of
/// an application), which could look like the fields behind it.
struct Recognized {
  var text: KnownText
  /// Where the fixed text ends; nil when it runs on with foreign words.
  var end: Int?
  /// The words by which it was recognized; nil when others stand before them.
  var words: StaticString?
}

/// Recognizes the message that starts at `start`; nil for any other.
func recognize(_ bytes: Span<UInt8>, at start: Int) -> Recognized? {
  guard start < bytes.count else { return nil }
  if bytes.has("upstream sent ", at: start) { return upstreamSent(bytes, at: start) }
  if bytes[start] &- 48 < 10 { return numbered(bytes, at: start) ?? resolution(bytes, at: start) }
  let table = Phrase.byFirstByte[Int(bytes[start])]
  for phrase in table where bytes.has(phrase.words, at: start) {
    let end = phrase.isFixed ? start + phrase.words.utf8CodeUnitCount : nil
    return Recognized(text: phrase.text, end: end, words: phrase.words)
  }
  return resolution(bytes, at: start)
}

/// `HOST could not be resolved (N: text)`: the host comes first, and may be the client's words.
private func resolution(_ bytes: Span<UInt8>, at start: Int) -> Recognized? {
  guard let space = bytes.first(UInt8(ascii: " "), in: start..<bytes.count),
    bytes.has(" could not be resolved (", at: space)
  else { return nil }
  return Recognized(text: .nameResolution, end: nil)
}

/// `768 worker_connections are not enough`; with `, reusing connections` nothing failed yet.
private func numbered(_ bytes: Span<UInt8>, at start: Int) -> Recognized? {
  var position = start
  guard bytes.number(at: &position) != nil,
    bytes.has(" worker_connections are not enough", at: position),
    !bytes.has(", reusing", at: position + 34)
  else { return nil }
  return Recognized(text: .workerConnections, end: position + 34)
}

/// What a backend sent and nginx refused. Only the first words are looked at: what follows may be
/// the backend's.
private func upstreamSent(_ bytes: Span<UInt8>, at start: Int) -> Recognized {
  for phrase in Phrase.sent where bytes.has(phrase.words, at: start + 14) {
    let end = phrase.isFixed ? start + 14 + phrase.words.utf8CodeUnitCount : nil
    return Recognized(text: phrase.text, end: end, words: phrase.words)
  }
  // About sixty texts on frames of HTTP/2 (grpc, and proxy since 1.29.4) and records of FastCGI.
  return Recognized(text: .protocolError, end: nil)
}

private struct Phrase {
  let words: StaticString
  let text: KnownText
  /// Nothing but ` (ERRNO: TEXT)` may follow it in the message.
  let isFixed: Bool

  init(_ words: StaticString, _ text: KnownText, isFixed: Bool = true) {
    self.words = words
    self.text = text
    self.isFixed = isFixed
  }

  /// All but those of `sent`, by the byte that they start with.
  static let byFirstByte: [[Phrase]] = {
    var table = [[Phrase]](repeating: [], count: 256)
    for phrase in upstream + connecting + none + transfer + tls + mixed {
      table[Int(phrase.words.utf8Start.pointee)].append(phrase)
    }
    return table
  }()

  static let upstream = [
    Phrase("upstream prematurely closed connection", .prematurelyClosed),
    Phrase("upstream timed out", .upstreamTimedOut),
    Phrase("upstream server temporarily disabled", .temporarilyDisabled),
    Phrase("upstream prematurely closed FastCGI ", .protocolError, isFixed: false),
    Phrase("upstream prematurely closed stream", .protocolError),
    Phrase("upstream rejected request with error", .protocolError, isFixed: false),
    Phrase("upstream violated ", .protocolError, isFixed: false),
    Phrase("upstream prematurely sent response", .prematureResponse),
    Phrase("upstream SSL certificate ", .tlsCertificate, isFixed: false),
    Phrase("upstream disconnected", .streamEnded, isFixed: false),
    Phrase("udp timed out", .streamEnded, isFixed: false),
    Phrase("udp done", .streamEnded, isFixed: false),
    Phrase("using inherited sockets", .lifecycle, isFixed: false),
    Phrase("using the \"", .lifecycle, isFixed: false),
  ]

  static let sent = [
    Phrase("too big header", .headerTooBig),
    Phrase("invalid chunked response", .invalidChunked),
    Phrase("no valid HTTP/", .noValidHeader, isFixed: false),
    Phrase("more data than specified", .extraData, isFixed: false),
    Phrase("data after final chunk", .extraData),
    Phrase("data after trailers", .extraData),
    Phrase("invalid header", .invalidResponse, isFixed: false),
    Phrase("invalid status", .invalidResponse, isFixed: false),
    Phrase("invalid trailer", .invalidResponse, isFixed: false),
    Phrase("too big trailers", .invalidResponse),
    Phrase("invalid encoded header", .invalidResponse),
    Phrase("invalid :status", .invalidResponse, isFixed: false),
    Phrase("unexpected :status", .invalidResponse, isFixed: false),
    Phrase("duplicate :status", .invalidResponse, isFixed: false),
    Phrase("no :status", .invalidResponse, isFixed: false),
    Phrase("duplicate header line", .invalidResponse, isFixed: false),
    Phrase("\"Content-Length\" and", .invalidResponse, isFixed: false),
    Phrase("invalid \"Content-Length\"", .invalidResponse, isFixed: false),
    Phrase("unknown \"Transfer-Encoding\"", .invalidResponse, isFixed: false),
    Phrase("HTTP/1.0 response with early hints", .invalidResponse),
  ]

  static let connecting = [
    Phrase("connect() failed", .connect),
    Phrase("connect() to ", .connectTo, isFixed: false),
    Phrase("connection timed out", .connectionTimedOut),
    Phrase("connection upgrade in subrequest", .upgradeInSubrequest),
    Phrase("client prematurely closed connection", .clientClosed, isFixed: false),
    Phrase("client disconnected", .streamEnded, isFixed: false),
    Phrase("could not send PROXY protocol header at once", .streamError),
    Phrase("changing binary", .lifecycle),
    Phrase("cache manager process ", .lifecycle, isFixed: false),
    Phrase("cache loader process ", .lifecycle, isFixed: false),
  ]

  static let none = [
    Phrase("no live upstreams", .noLiveUpstreams),
    Phrase("no resolver defined to resolve ", .nameResolution, isFixed: false),
    Phrase("no port in upstream ", .noPort, isFixed: false),
    Phrase("nginx/", .lifecycle, isFixed: false),
    Phrase("new binary process ", .lifecycle, isFixed: false),
  ]

  static let transfer = [
    Phrase("recv() failed", .read),
    Phrase("readv() failed", .read),
    Phrase("writev() failed", .write),
    Phrase("send() failed", .write),
    Phrase("sendfile() failed", .write),
    Phrase("sendmsg() failed", .write),
    Phrase("socket() failed", .socket),
    Phrase("shutdown timeout", .streamEnded),
    Phrase("reconfiguring", .reload),
    Phrase("signal 1 (SIGHUP) received", .reload, isFixed: false),
    Phrase("reopening logs", .reopening),
    Phrase("signal 10 (SIGUSR1) received", .reopening, isFixed: false),
    Phrase("signal ", .lifecycle, isFixed: false),
    Phrase("start ", .lifecycle, isFixed: false),
    // `exited on signal 11`, and `exited with fatal code 2 and cannot be respawned`.
    Phrase("worker process ", .crashed, isFixed: false),
  ]

  static let tls = [
    Phrase("peer closed connection in SSL handshake", .tlsClosed),
    Phrase("SSL_do_handshake() failed", .tlsHandshake, isFixed: false),
    Phrase("SSL_read() failed", .tlsRead, isFixed: false),
    Phrase("SSL_write() failed", .tlsWrite, isFixed: false),
    Phrase("SSL_sendfile() failed", .tlsWrite, isFixed: false),
  ]

  static let mixed = [
    Phrase(
      """
      epoll_wait() reported that client prematurely closed connection, so upstream connection is \
      closed too
      """, .clientReported),
    Phrase(
      "epoll_wait() reported that client prematurely closed connection", .clientReported,
      isFixed: false),
    Phrase(
      "kevent() reported that client prematurely closed connection", .clientReported,
      isFixed: false),
    Phrase("kevent() reported that connect() failed", .connect),
    Phrase("kevent() reported that upstream closed connection", .upstreamClosed),
    Phrase("kevent() reported about an closed connection", .read),
    Phrase("memcached sent invalid ", .protocolError, isFixed: false),
    Phrase("FastCGI sent in stderr: ", .stderr, isFixed: false),
    Phrase("bind(", .bind, isFixed: false),
    Phrase("buffered data on next upstream", .streamError),
    Phrase("disconnected on shutdown", .streamEnded),
    // Said by a worker with connections left when it ends: with `aborting` a sign of a leak.
    Phrase("open socket #", .lifecycle, isFixed: false),
    Phrase("aborting", .lifecycle),
    Phrase("exiting", .lifecycle),
    Phrase("exit", .lifecycle),
    Phrase("gracefully shutting down", .lifecycle),
  ]
}
