import Evidence
import Testing

@testable import NginxProbe

/// What nginx writes for each event on the wire, in each phase; each line as nginx 1.22.1 wrote it.
@Suite struct FailureTableTests {
  struct Row: CustomTestStringConvertible, Sendable {
    var event: String
    var message: String
    var action: String
    var level = "error"
    var kind: NginxMessage
    var errno: Int32?
    var countsAsFailure: Bool
    var testDescription: String { event }
  }

  private static let header = "reading response header from upstream"
  private static let reset = " (104: Connection reset by peer)"
  private static let timeout = "upstream timed out (110: Connection timed out)"

  static let rows: [Row] = [
    Row(
      event: "SYN refused", message: "connect() failed (111: Connection refused)",
      action: "connecting to upstream", kind: .connectFailed, errno: 111, countsAsFailure: true),
    Row(
      event: "SYN dropped", message: timeout, action: "connecting to upstream",
      kind: .connectTimedOut, errno: 110, countsAsFailure: true),
    Row(
      event: "SYN dropped, the kernel gives up first",
      message: "connect() failed (110: Connection timed out)", action: "connecting to upstream",
      kind: .connectFailed, errno: 110, countsAsFailure: true),
    Row(
      event: "no route", message: "connect() to 192.0.2.1:80 failed (113: No route to host)",
      action: "connecting to upstream", kind: .connectRefusedAtOnce, errno: 113,
      countsAsFailure: true),
    Row(
      event: "FIN before the request was written, and after it was read",
      message: "upstream prematurely closed connection", action: header, kind: .prematurelyClosed,
      countsAsFailure: true),
    Row(
      event: "RST before the request was written, also on a reused connection",
      message: "connect() failed" + reset, action: "connecting to upstream", kind: .connectFailed,
      errno: 104, countsAsFailure: true),
    Row(
      event: "RST after the request", message: "recv() failed" + reset, action: header,
      kind: .recvFailed, errno: 104, countsAsFailure: true),
    Row(
      event: "FIN in the body", message: "upstream prematurely closed connection",
      action: "reading upstream", kind: .bodyClosed, countsAsFailure: false),
    Row(
      event: "RST in a buffered body", message: "readv() failed" + reset,
      action: "reading upstream", kind: .bodyRecvFailed, errno: 104, countsAsFailure: false),
    Row(
      event: "RST in an unbuffered body", message: "recv() failed" + reset,
      action: "reading upstream", kind: .bodyRecvFailed, errno: 104, countsAsFailure: false),
    Row(
      event: "RST while a body is being sent", message: "writev() failed" + reset,
      action: "sending request to upstream", kind: .sendFailed, errno: 104, countsAsFailure: true),
    Row(
      event: "FIN, then RST, in an unbuffered upload", message: "writev() failed (32: Broken pipe)",
      action: "sending request to upstream", kind: .sendFailed, errno: 32, countsAsFailure: true),
    Row(
      event: "a backend that never reads", message: timeout, action: "sending request to upstream",
      kind: .sendTimedOut, errno: 110, countsAsFailure: true),
    Row(
      event: "no response", message: timeout, action: header, kind: .headerTimedOut, errno: 110,
      countsAsFailure: true),
    Row(
      event: "a stall in the body", message: timeout, action: "reading upstream",
      kind: .bodyTimedOut, errno: 110, countsAsFailure: false),
    Row(
      event: "packets lost on a reused connection",
      message: "recv() failed (110: Connection timed out)", action: header, kind: .recvFailed,
      errno: 110, countsAsFailure: true),
    Row(
      event: "FIN in a TLS handshake", message: "peer closed connection in SSL handshake",
      action: "SSL handshaking to upstream", kind: .tlsClosed, countsAsFailure: true),
    Row(
      event: "RST in a TLS handshake", message: "peer closed connection in SSL handshake" + reset,
      action: "SSL handshaking to upstream", kind: .tlsClosed, errno: 104, countsAsFailure: true),
    Row(
      event: "the client left",
      message: "epoll_wait() reported that client prematurely closed connection, so upstream "
        + "connection is closed too" + reset,
      action: header, level: "info", kind: .clientClosed, errno: 104, countsAsFailure: false),
    Row(
      event: "an idle websocket", message: timeout, action: "proxying upgraded connection",
      level: "info", kind: .upgradedTimedOut, errno: 110, countsAsFailure: false),
    Row(
      event: "RST of a websocket", message: "recv() failed" + reset,
      action: "proxying upgraded connection", kind: .upgradedFailed, errno: 104,
      countsAsFailure: false),
  ]

  @Test(arguments: rows) func `an event's line`(row: Row) throws {
    let line = try parse(entry(row.message, level: row.level, while: row.action))
    #expect(line.message == row.kind)
    #expect(line.errno == row.errno)
    #expect(line.message.countsAsPeerFailure == row.countsAsFailure)
    #expect(line.message.isInBody == (row.action == "reading upstream"))
  }
}
