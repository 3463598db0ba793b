import Evidence
import Testing

@testable import NginxProbe

/// Every message of nginx's source that concerns an upstream.
@Suite struct MessageKindTests {
  typealias Row = (message: String, level: String, action: String?, kind: NginxMessage)
  static let connecting = "connecting to upstream"
  static let tls = "SSL handshaking to upstream"
  static let sending = "sending request to upstream"
  static let header = "reading response header from upstream"
  static let body = "reading upstream"
  static let client = "sending to client"
  static let upgraded = "proxying upgraded connection"

  static let connect: [Row] = [
    ("connect() failed (111: Connection refused)", "error", connecting, .connectFailed),
    ("connect() failed (110: Connection timed out)", "error", connecting, .connectFailed),
    ("connect() failed (113: No route to host)", "error", connecting, .connectFailed),
    ("connect() failed (104: Connection reset by peer)", "error", connecting, .connectFailed),
    (
      "kevent() reported that connect() failed (61: Connection refused)", "error", connecting,
      .connectFailed
    ),
    (
      "connect() to 10.0.0.9:80 failed (101: Network is unreachable)", "error", connecting,
      .connectRefusedAtOnce
    ),
    (
      "connect() to unix:/run/x.sock failed (2: No such file or directory)", "crit", connecting,
      .connectRefusedAtOnce
    ),
    (
      "connect() to unix:/run/x.sock failed (11: Resource temporarily unavailable)", "error",
      connecting, .connectRefusedAtOnce
    ),
    (
      "bind(192.0.2.1) failed (99: Cannot assign requested address)", "crit", connecting,
      .bindFailed
    ),
    ("socket() failed (24: Too many open files)", "alert", connecting, .socketFailed),
    ("768 worker_connections are not enough", "alert", connecting, .workerConnectionsExhausted),
    ("768 worker_connections are not enough, reusing connections", "warn", connecting, .other),
    ("upstream timed out (110: Connection timed out)", "error", connecting, .connectTimedOut),
    ("no live upstreams", "error", connecting, .noLiveUpstreams),
    ("upstream server temporarily disabled", "warn", connecting, .temporarilyDisabled),
    ("api.local could not be resolved (3: Host not found)", "error", nil, .nameResolutionFailed),
    (
      "api.local could not be resolved (110: Operation timed out)", "error", nil,
      .nameResolutionFailed
    ),
    ("no resolver defined to resolve api.local", "error", nil, .nameResolutionFailed),
    ("no port in upstream \"api.local\"", "error", nil, .noPort),
  ]

  static let handshake: [Row] = [
    ("peer closed connection in SSL handshake", "error", tls, .tlsClosed),
    (
      "peer closed connection in SSL handshake (104: Connection reset by peer)", "error", tls,
      .tlsClosed
    ),
    ("peer closed connection in SSL handshake", "info", "SSL handshaking", .other),
    (
      "SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)", "error",
      tls, .tlsHandshakeFailed
    ),
    (
      "SSL_do_handshake() failed (SSL: error:1408F10B:SSL routines)", "crit", "SSL handshaking",
      .other
    ),
    ("upstream timed out (110: Connection timed out)", "error", tls, .tlsTimedOut),
    (
      "upstream SSL certificate verify error: (18:self-signed certificate)", "error", tls,
      .tlsCertificateRejected
    ),
    ("upstream SSL certificate does not match \"name\"", "error", tls, .tlsCertificateRejected),
    (
      "SSL_read() failed (SSL: error:0A0003FC:SSL routines::x)", "error", header,
      .tlsTransferFailed
    ),
    (
      "SSL_write() failed (SSL: error:0A0003FC:SSL routines::x)", "crit", sending,
      .tlsTransferFailed
    ),
    ("SSL_write() failed (SSL: error:0A0003FC:SSL routines::x)", "crit", client, .other),
    ("SSL_read() failed (SSL: error:0A0003FC:SSL routines::x)", "info", client, .other),
    ("upstream prematurely sent response", "error", tls, .prematureResponse),
  ]

  static let exchange: [Row] = [
    ("send() failed (104: Connection reset by peer)", "error", sending, .sendFailed),
    ("writev() failed (32: Broken pipe)", "error", sending, .sendFailed),
    ("sendfile() failed (104: Connection reset by peer)", "error", sending, .sendFailed),
    ("recv() failed (104: Connection reset by peer)", "error", header, .recvFailed),
    ("recv() failed (110: Connection timed out)", "error", header, .recvFailed),
    ("upstream prematurely closed connection", "error", header, .prematurelyClosed),
    ("upstream timed out (110: Connection timed out)", "error", sending, .sendTimedOut),
    ("upstream timed out (110: Connection timed out)", "error", header, .headerTimedOut),
    ("upstream sent too big header", "error", header, .headerTooBig),
    ("upstream sent too big early hints", "info", header, .other),
    ("upstream sent invalid header: \"Bad\\x01...\"", "error", header, .invalidResponse),
    ("upstream sent invalid header", "error", header, .invalidResponse),
    ("upstream sent invalid status \"abc\"", "error", header, .invalidResponse),
    ("upstream sent no valid HTTP/1.0 header", "error", header, .noValidHeader),
    (
      "upstream sent duplicate header line: \"A: b\", previous value: \"A: c\"", "error", header,
      .invalidResponse
    ),
    (
      "upstream sent duplicate header line: \"A: b\", previous value: \"A: c\", ignored", "warn",
      header, .other
    ),
    (
      "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time",
      "error",
      header, .invalidResponse
    ),
    (
      "upstream sent invalid \"Content-Length\" header: \"Content-Length: x\"", "error", header,
      .invalidResponse
    ),
    ("upstream sent unknown \"Transfer-Encoding\": \"x\"", "error", header, .invalidResponse),
    ("upstream prematurely closed connection", "error", body, .bodyClosed),
    ("upstream prematurely closed connection", "error", client, .bodyClosed),
    ("kevent() reported that upstream closed connection (54: x)", "error", body, .bodyRecvFailed),
    ("readv() failed (104: Connection reset by peer)", "error", body, .bodyRecvFailed),
    ("recv() failed (104: Connection reset by peer)", "error", body, .bodyRecvFailed),
    ("readv() failed (104: Connection reset by peer)", "error", client, .bodyRecvFailed),
    ("upstream timed out (110: Connection timed out)", "error", body, .bodyTimedOut),
    ("upstream sent invalid chunked response", "error", header, .invalidChunked),
    (
      "upstream sent more data than specified in \"Content-Length\" header", "warn", body,
      .extraData
    ),
    ("upstream sent data after final chunk", "warn", body, .extraData),
    ("connection upgrade in subrequest", "error", header, .upgradedFailed),
    ("upstream timed out (110: Connection timed out)", "info", upgraded, .upgradedTimedOut),
    ("recv() failed (104: Connection reset by peer)", "error", upgraded, .upgradedFailed),
  ]

  static let protocols: [Row] = [
    ("FastCGI sent in stderr: \"PHP message: x\"", "error", header, .applicationMessage),
    ("upstream prematurely closed FastCGI stdout", "error", header, .protocolError),
    ("upstream prematurely closed FastCGI request", "error", body, .protocolError),
    ("upstream sent unexpected FastCGI record: 3", "error", header, .protocolError),
    ("upstream sent unsupported FastCGI protocol version: 72", "error", header, .protocolError),
    ("upstream sent invalid FastCGI record type: 9", "error", header, .protocolError),
    ("upstream sent unexpected FastCGI request id high byte: 1", "error", header, .protocolError),
    ("upstream rejected request with error 7", "error", header, .protocolError),
    ("upstream sent goaway with error 2", "error", header, .protocolError),
    ("upstream prematurely closed stream", "error", header, .protocolError),
    ("upstream sent unexpected http2 frame: 9", "error", header, .protocolError),
    ("upstream sent frame for unknown stream 3", "error", header, .protocolError),
    (
      "upstream violated stream flow control, received 9 data frame with window 1", "error", header,
      .protocolError
    ),
    ("upstream sent no :status header", "error", header, .invalidResponse),
    (
      "upstream sent response body larger than indicated content length", "error", body,
      .protocolError
    ),
    ("memcached sent invalid response: \"x\"", "error", header, .protocolError),
    ("memcached sent invalid key in response \"a\" for key \"b\"", "error", header, .protocolError),
    ("key: \"/a\" was not found by memcached", "info", header, .other),
  ]

  static let clients: [Row] = [
    (
      "epoll_wait() reported that client prematurely closed connection, so upstream connection is "
        + "closed too", "info", header, .clientClosed
    ),
    (
      "epoll_wait() reported that client prematurely closed connection, so upstream connection is "
        + "closed too (104: Connection reset by peer)", "info", connecting, .clientClosed
    ),
    (
      "epoll_wait() reported that client prematurely closed connection", "info", header,
      .clientClosed
    ),
    ("kevent() reported that client prematurely closed connection", "info", header, .clientClosed),
    (
      "client prematurely closed connection, so upstream connection is closed too", "info", header,
      .clientClosed
    ),
    ("writev() failed (32: Broken pipe)", "info", client, .other),
    ("send() failed (104: Connection reset by peer)", "info", client, .other),
    ("recv() failed (104: Connection reset by peer)", "info", sending, .other),
    ("client timed out (110: Connection timed out)", "info", client, .other),
    ("open() \"/srv/x\" failed (2: No such file or directory)", "error", nil, .other),
    ("access forbidden by rule", "error", nil, .other),
  ]

  @Test(arguments: connect + handshake + exchange + protocols + clients)
  func `a message`(row: Row) throws {
    let line = try parse(entry(row.message, level: row.level, while: row.action))
    #expect(line.message == row.kind)
    #expect(line.action == row.action)
    #expect(line.upstream?.description == "127.0.0.1:19001")
    #expect(!line.isTruncated)
  }

  @Test(arguments: [
    (
      "connect() failed (111: Connection refused) while connecting to upstream", "error",
      NginxMessage.connectFailed
    ),
    (
      "upstream timed out (110: Connection timed out) while connecting to upstream", "error",
      .connectTimedOut
    ),
    ("no live upstreams while connecting to upstream", "error", .noLiveUpstreams),
    (
      "peer closed connection in SSL handshake while SSL handshaking to upstream", "error",
      .tlsClosed
    ),
    (
      "recv() failed (104: Connection reset by peer) while proxying and reading from upstream",
      "error", .streamFailed
    ),
    (
      "send() failed (32: Broken pipe) while proxying and sending to upstream", "error",
      .streamFailed
    ),
    (
      "recv() failed (104: Connection reset by peer) while proxying and reading from client",
      "info",
      .other
    ),
    (
      "connection timed out (110: Connection timed out) while proxying connection", "info",
      .streamTimedOut
    ),
    (
      "upstream timed out (110: Connection timed out) while proxying connection", "error",
      .streamTimedOut
    ),
    ("buffered data on next upstream while connecting to upstream", "error", .streamFailed),
    ("shutdown timeout while proxying connection", "info", .streamEnded),
    ("disconnected on shutdown while proxying connection", "info", .streamEnded),
  ])
  func `a message of the stream module`(
    message: String, level: String, kind: NginxMessage
  ) throws {
    let line = try parse(
      "2026/11/24 10:01:02 [\(level)] 5#5: *9 \(message), client: 192.0.2.7, server: 0.0.0.0:81, "
        + "upstream: \"127.0.0.1:8083\", bytes from/to client:0/0, bytes from/to upstream:0/0")
    #expect(line.message == kind)
    #expect(line.upstream?.description == "127.0.0.1:8083")
    #expect(!line.isTruncated)
  }

  @Test(arguments: [
    (
      "*9 upstream disconnected, bytes from/to client:1/2, bytes from/to upstream:2/1", "info",
      NginxMessage.streamEnded
    ),
    (
      "*9 client disconnected, bytes from/to client:1/2, bytes from/to upstream:2/1", "info",
      .streamEnded
    ),
    ("signal process started", "notice", .lifecycle),
    ("signal 1 (SIGHUP) received from 77, reconfiguring", "notice", .reload),
    ("reconfiguring", "notice", .reload),
    ("using the \"epoll\" event method", "notice", .lifecycle),
    ("start worker processes", "notice", .lifecycle),
    ("start worker process 4712", "notice", .lifecycle),
    ("gracefully shutting down", "notice", .lifecycle),
    ("exiting", "notice", .lifecycle),
    ("exit", "notice", .lifecycle),
    ("signal 17 (SIGCHLD) received from 4711", "notice", .lifecycle),
    ("worker process 4711 exited with code 0", "notice", .lifecycle),
    ("signal 15 (SIGTERM) received from 1, exiting", "notice", .lifecycle),
    ("signal 10 (SIGUSR1) received from 1, reopening logs", "notice", .logsReopened),
    ("reopening logs", "notice", .logsReopened),
    ("changing binary", "notice", .lifecycle),
    ("start new binary process 99", "notice", .lifecycle),
    ("using inherited sockets from \"5;\"", "notice", .lifecycle),
    ("worker process 4711 exited on signal 11", "alert", .workerCrashed),
    ("worker process 4711 exited on signal 11 (core dumped)", "alert", .workerCrashed),
    (
      "worker process 4711 exited with fatal code 2 and cannot be respawned", "alert",
      .workerCrashed
    ),
    ("open socket #11 left in connection 4", "alert", .lifecycle),
    ("aborting", "alert", .lifecycle),
    ("768 worker_connections are not enough", "alert", .other),
    ("invalid number of arguments in \"x\" directive in /etc/nginx/nginx.conf:3", "emerg", .other),
    ("connect() to 8.8.8.8:53 failed (101: Network is unreachable)", "crit", .other),
  ])
  func `a message of nginx's own life`(message: String, level: String, kind: NginxMessage) throws {
    let line = try parse("2026/11/24 10:01:02 [\(level)] 7#7: \(message)")
    #expect(line.message == kind)
    #expect(line.upstream == nil)
  }
}
