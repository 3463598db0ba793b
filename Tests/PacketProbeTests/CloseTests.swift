import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// The kinds of close that the wire shows between nginx (the client) and a backend.
@Suite struct CloseTests {
  @Test func `A: an idle timeout`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.exchange()
    wire.server("F.", after: 5000)
    wire.client("F.")
    wire.server(".")
    let connection = wire.connection()
    #expect(Close(connection) == Close(.responder, .fin, .idle, .neverSent, exchanges: 2))
    // From the response's last byte; nginx's ACK came 1 ms after it.
    #expect(connection?.idleBeforeClose == .milliseconds(5001))
    #expect(connection?.rtt == .milliseconds(2))
  }

  @Test func `B: the request was read, and the connection closed without an answer`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".")
    wire.server("F.")
    wire.client("F.")
    wire.server(".")
    #expect(
      Close(wire.connection())
        == Close(.responder, .fin, .awaitingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `C, D, F, H: an active reset instead of an answer`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".")
    wire.server("R.", window: 64)
    let connection = wire.connection()
    #expect(
      Close(connection)
        == Close(.responder, .activeReset, .awaitingResponse, .acknowledged, request: "GET /a"))
    #expect(connection?.responderReset?.manner == .activeReset)
    #expect(connection?.forgeryMarks == [])
  }

  @Test func `an active reset acknowledges what no ACK before it did`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server("R.", window: 64)
    #expect(
      Close(wire.connection())
        == Close(.responder, .activeReset, .awaitingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `G: nothing listens`() {
    let wire = Wire()
    wire.client("S")
    wire.server("R.", sequence: 0, window: 0) { $0.identification = 0 }
    #expect(
      Close(wire.connection())
        == Close(.responder, .refused, .connecting, .neverSent, exchanges: 0))
  }

  @Test func `I: a FIN in the middle of the response`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhello")
    wire.server("F.")
    wire.client("F.")
    #expect(
      Close(wire.connection())
        == Close(.responder, .fin, .receivingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `J: a reset between two chunks`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    wire.client(".")
    wire.server("R.", window: 64)
    #expect(
      Close(wire.connection())
        == Close(.responder, .activeReset, .receivingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `a chunked response that is whole leaves an idle connection`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    wire.server("P.", "0\r\n\r\n")
    wire.server("F.", after: 2000)
    #expect(Close(wire.connection()) == Close(.responder, .fin, .idle, .neverSent))
  }

  @Test func `K: answered early, and reset with the body unread`() {
    let wire = Wire()
    wire.handshake()
    wire.client(".", "POST /u HTTP/1.1\r\nContent-Length: 9000\r\n\r\n")
    wire.client(".", String(repeating: "x", count: 1000))
    wire.server("P.", "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    wire.client(".", String(repeating: "y", count: 1000))
    wire.server("R.", window: 64)
    #expect(
      Close(wire.connection())
        == Close(
          .responder, .activeReset, .sendingRequest, .partlyAcknowledged))
  }

  @Test func `L: FIN, then the request, then a passive reset`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.server("F.", after: 5000)
    wire.client("P.", "POST /b HTTP/1.1\r\n\r\n")
    wire.server("R", sequence: 5047, window: 0) { $0.identification = 0 }
    wire.client("F.")
    let connection = wire.connection()
    #expect(
      Close(connection)
        == Close(
          .responder, .fin, .idle, .rejected, exchanges: 2, afterFIN: true, request: "POST /b"))
    #expect(connection?.responderReset?.manner == .passiveReset)
    #expect(connection?.idleBeforeClose == .milliseconds(5001))
  }

  @Test func `L, crossing: the FIN was on its way when the request went out`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    let before = wire.clientEnd.next
    wire.client("P.", "POST /b HTTP/1.1\r\n\r\n", after: 5000)
    wire.server("F.", acknowledgement: before)
    wire.server("R", sequence: 5046, window: 0)
    #expect(
      Close(wire.connection())
        == Close(
          .responder, .fin, .idle, .rejected, exchanges: 2, afterFIN: true, request: "POST /b"))
  }

  @Test func `a FIN that acknowledges the request was no race`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.client("P.", "POST /b HTTP/1.1\r\n\r\n", after: 5000)
    wire.server("F.")
    wire.client("F.")
    #expect(
      Close(wire.connection())
        == Close(
          .responder, .fin, .awaitingResponse, .acknowledged, exchanges: 2, request: "POST /b"))
  }

  @Test func `M: only a passive reset answers the request`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.client("P.", "POST /b HTTP/1.1\r\n\r\n", after: 9000)
    wire.server("R", window: 0) { $0.identification = 0 }
    #expect(
      Close(wire.connection())
        == Close(
          .responder, .passiveReset, .sendingRequest, .rejected, exchanges: 2, request: "POST /b"))
  }

  @Test func `P: the originator gave up waiting`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".")
    wire.client("F.", after: 60_000)
    wire.server(".")
    let connection = wire.connection()
    #expect(
      Close(connection)
        == Close(.originator, .fin, .awaitingResponse, .acknowledged, request: "GET /a"))
    #expect(connection?.idleBeforeClose == .milliseconds(60_001))
  }

  @Test func `Q: the originator resets with the response unread`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server("P.", "HTTP/1.1 200 OK\r\nX-Large: " + String(repeating: "x", count: 900))
    wire.client("R.", window: 64)
    #expect(
      Close(wire.connection())
        == Close(
          .originator, .activeReset, .receivingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `an idle connection reset after a pause`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.server("R.", after: 5000, window: 64)
    #expect(Close(wire.connection()) == Close(.responder, .activeReset, .idle, .neverSent))
  }

  @Test func `part of the request was acknowledged`() {
    let wire = Wire()
    wire.handshake()
    wire.client(".", "POST /u HTTP/1.1\r\n\r\n")
    wire.server(".")
    wire.client(".", String(repeating: "x", count: 1000))
    wire.server("R", window: 0)
    #expect(
      Close(wire.connection())
        == Close(
          .responder, .passiveReset, .sendingRequest, .partlyAcknowledged, request: "POST /u"))
  }

  @Test func `a SYN that nobody answers`() {
    let wire = Wire()
    wire.client("S")
    wire.client("S", after: 1000, sequence: 1000)
    wire.wait(10_000)
    #expect(
      Close(wire.connection()) == Close(.unknown, .timeout, .connecting, .neverSent, exchanges: 0))
  }

  @Test func `a request that is retransmitted until the end`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.client("P.", get, after: 9000)
    let sequence = wire.clientEnd.next &- UInt32(get.utf8.count)
    for delay in [200.0, 400, 800, 1600] {
      wire.client("P.", get, after: delay, sequence: sequence)
    }
    #expect(
      Close(wire.connection())
        == Close(.unknown, .timeout, .sendingRequest, .unknown, exchanges: 2, request: "GET /a"))
  }
}
