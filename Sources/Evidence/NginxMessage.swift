/// What an nginx line says, as a kind. The texts and their origin in nginx's source are listed where
/// they are parsed (`NginxProbe`).
public enum NginxMessage: String, Hashable, Codable, Sendable, CaseIterable {
  // Connecting.
  /// `connect() failed (E)`: asynchronous, or a reset before the first write on any connection.
  case connectFailed
  /// `connect() to PEER failed (E)`: refused by connect(2) itself.
  case connectRefusedAtOnce
  /// `upstream timed out ... while connecting to upstream`.
  case connectTimedOut
  /// `bind(ADDR) failed`.
  case bindFailed
  /// `socket() failed`.
  case socketFailed
  /// `N worker_connections are not enough`.
  case workerConnectionsExhausted
  /// `no live upstreams`.
  case noLiveUpstreams
  /// `upstream server temporarily disabled` (warn).
  case temporarilyDisabled
  /// `HOST could not be resolved`, `no resolver defined to resolve HOST`.
  case nameResolutionFailed
  /// `no port in upstream "H"`.
  case noPort

  // TLS to the upstream.
  /// `peer closed connection in SSL handshake`.
  case tlsClosed
  /// `SSL_do_handshake() failed`.
  case tlsHandshakeFailed
  /// `upstream timed out ... while SSL handshaking to upstream`.
  case tlsTimedOut
  /// `upstream SSL certificate ...`.
  case tlsCertificateRejected
  /// `SSL_read() failed`, `SSL_write() failed`.
  case tlsTransferFailed

  // Request and response header.
  /// `send()`, `writev()`, `sendfile()` failed towards the upstream.
  case sendFailed
  /// `recv()` failed before the response header was complete.
  case recvFailed
  /// `upstream prematurely closed connection while reading response header from upstream`.
  case prematurelyClosed
  /// `upstream timed out ... while sending request to upstream`.
  case sendTimedOut
  /// `upstream timed out ... while reading response header from upstream`.
  case headerTimedOut
  /// `upstream sent too big header`.
  case headerTooBig
  /// Any header or protocol frame that nginx refuses (`upstream sent invalid ...`).
  case invalidResponse
  /// `upstream prematurely sent response`.
  case prematureResponse
  /// `upstream sent no valid HTTP/1.0 header`: taken as HTTP/0.9, not a 502.
  case noValidHeader
  /// FastCGI, gRPC, HTTP/2 or memcached protocol errors, resets and GOAWAY.
  case protocolError

  // Body: the client already has a 200.
  /// `upstream prematurely closed connection while reading upstream`.
  case bodyClosed
  /// `readv()` or `recv()` failed while reading the body.
  case bodyRecvFailed
  /// `upstream timed out ... while reading upstream`.
  case bodyTimedOut
  /// `upstream sent invalid chunked response`.
  case invalidChunked
  /// `upstream sent more data than specified`, `data after final chunk` (warn, harmless).
  case extraData

  // After an upgrade, and the stream module.
  case upgradedFailed
  case upgradedTimedOut
  case streamFailed
  case streamTimedOut
  /// `upstream disconnected`, `client disconnected` of a stream session (info).
  case streamEnded

  // Not the upstream's doing.
  /// `... client prematurely closed connection, so upstream connection is closed too` (info).
  case clientClosed
  /// `FastCGI sent in stderr`: the application's own words.
  case applicationMessage

  // nginx's own life.
  /// `signal 1 (SIGHUP) received`, `reconfiguring`.
  case reload
  /// Start, stop and exit of masters and workers.
  case lifecycle
  /// `worker process N exited on signal S`.
  case workerCrashed
  /// `reopening logs`.
  case logsReopened
  /// Any other line; kept, so that nothing is lost.
  case other
}

extension NginxMessage {
  /// Whether it reports that an exchange with an upstream failed or was cut.
  public var isUpstreamFailure: Bool {
    switch self {
    case .temporarilyDisabled, .extraData, .streamEnded, .clientClosed, .applicationMessage,
      .reload, .lifecycle, .workerCrashed, .logsReopened, .other:
      false
    default: true
    }
  }

  /// Whether nginx counts it against the peer (`max_fails`), by nginx-1.22.1
  /// ngx_http_upstream.c:4276-4429 and :4484: every failure before the header is complete, none
  /// after it, and none for which no peer was chosen.
  public var countsAsPeerFailure: Bool {
    switch self {
    case .connectFailed, .connectRefusedAtOnce, .connectTimedOut, .tlsClosed, .tlsHandshakeFailed,
      .tlsTimedOut, .tlsCertificateRejected, .tlsTransferFailed, .sendFailed, .recvFailed,
      .prematurelyClosed, .sendTimedOut, .headerTimedOut, .headerTooBig, .invalidResponse,
      .prematureResponse, .protocolError:
      true
    default: false
    }
  }

  /// Whether the response's body was being read: the client has a status already, mostly 200.
  public var isInBody: Bool {
    switch self {
    case .bodyClosed, .bodyRecvFailed, .bodyTimedOut, .invalidChunked: true
    default: false
    }
  }

  /// Whether nginx itself gave up, by a timer or a limit, while the peer's socket was still there.
  public var isNginxGivingUp: Bool {
    switch self {
    case .connectTimedOut, .tlsTimedOut, .sendTimedOut, .headerTimedOut, .bodyTimedOut,
      .headerTooBig, .invalidResponse, .invalidChunked, .upgradedTimedOut, .streamTimedOut:
      true
    default: false
    }
  }
}
