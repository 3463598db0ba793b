import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// Where turns of direction are no exchanges.
@Suite struct ExchangeTests {
  private func records(_ type: UInt8, _ count: Int) -> String {
    String(decoding: [type, 3, 3] + [UInt8](repeating: 0x41, count: count - 3), as: UTF8.self)
  }

  @Test func `a TLS handshake that the backend ended`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", records(0x16, 200))
    wire.server("F.")
    #expect(
      Close(wire.connection())
        == Close(.responder, .fin, .tlsHandshake, .neverSent, exchanges: nil))
  }

  @Test func `a TLS backend's close_notify and FIN after idling, answered by a reset`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", records(0x16, 200))
    wire.server("P.", records(0x16, 1200))
    wire.client("P.", records(0x14, 80))
    wire.server("P.", records(0x17, 500))
    wire.client("P.", records(0x17, 300))
    wire.server("P.", records(0x17, 900))
    wire.client(".")
    wire.server("P.", records(0x17, 24), after: 5000)
    wire.server("F.", after: 0)
    wire.client("R")
    let connection = wire.connection()
    #expect(Close(connection) == Close(.responder, .fin, .idle, .neverSent, exchanges: nil))
    #expect(connection?.idleBeforeClose == .milliseconds(5001))
  }

  /// What ended a TLS connection soon after data of the response said `idle`.
  @Test(arguments: ["F.", "R."]) func `whether an answer in TLS was whole is not guessed`(
    end: String
  ) {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", records(0x16, 200))
    wire.server("P.", records(0x16, 1200))
    wire.client("P.", records(0x14, 80))
    wire.client("P.", records(0x17, 300))
    wire.server("P.", records(0x17, 900))
    wire.client(".")
    wire.server(end)
    let manner: Manner = end == "F." ? .fin : .activeReset
    #expect(
      Close(wire.connection()) == Close(.responder, manner, .unknown, .unknown, exchanges: nil))
  }

  @Test func `HTTP/2 has no turns`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    wire.server("P.", "settings")
    wire.server("F.")
    #expect(
      Close(wire.connection()) == Close(.responder, .fin, .idle, .unknown, exchanges: nil))
  }

  @Test func `100 Continue, and pipelining, withdraw the count`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "POST /u HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")
    wire.server("P.", "HTTP/1.1 100 Continue\r\n\r\n")
    wire.client("P.", "body")
    wire.server("P.", ok)
    #expect(wire.connection()?.exchanges == nil)
    let pipelined = Wire()
    pipelined.handshake()
    pipelined.client("P.", get)
    pipelined.client("P.", get)
    #expect(pipelined.connection()?.exchanges == nil)
  }

  @Test func `a body in several segments, and a retransmission, are one request`() {
    let wire = Wire()
    wire.handshake()
    wire.client(".", "POST /u HTTP/1.1\r\n\r\n")
    wire.client(".", "some of the body")
    wire.client(".", "some of the body", sequence: 1021)
    wire.client("P.", "the rest")
    wire.server("P.", ok)
    let connection = wire.connection()
    #expect(connection?.exchanges == 1)
    #expect([connection?.requestBytes, connection?.responseBytes] == [44, 43])
  }

  @Test func `without its start, neither reuse nor exchanges are known`() {
    let wire = Wire()
    wire.client("P.", get)
    wire.server("P.", ok)
    wire.server("F.", after: 5000)
    let connection = wire.connection()
    #expect(Close(connection) == Close(.responder, .fin, .idle, .neverSent, exchanges: nil))
    #expect(connection?.sawStart == false)
  }

  @Test func `controls in a request line are escaped, and no more than its target is kept`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /\u{1b}[31m?password=1 HTTP/1.1\r\nCookie: secret\r\n\r\n")
    wire.server("F.")
    #expect(wire.connection()?.request == "GET /\\x1B[31m")
  }
}

/// Resets in the responder's name.
@Suite struct ForgeryTests {
  private func reset(_ change: (Wire) -> Void) -> Connection? {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".")
    change(wire)
    return wire.connection()
  }

  @Test func `an ordinary passive reset bears no mark`() {
    let connection = reset { wire in
      wire.server("R", window: 0) { $0.identification = 0 }
    }
    #expect(connection?.forgeryMarks == [])
    #expect(connection?.closer == .responder)
  }

  @Test func `another time to live`() {
    let connection = reset { wire in
      wire.server("R.") { $0.timeToLive = 61 }
    }
    #expect(
      connection?.forgeryMarks == ["time to live differs from the responder's SYN-ACK"])
    #expect(connection?.closer == .middlebox)
    #expect(reset { $0.server("R.") { $0.timeToLive = 62 } }?.forgeryMarks == [])
  }

  @Test func `the real responder goes on`() {
    let connection = reset { wire in
      wire.server("R.", lost: false)
      wire.server("P.", ok)
    }
    #expect(connection?.forgeryMarks == ["the responder went on after it"])
    #expect(connection?.closer == .middlebox)
  }

  @Test func `what was on its way when the reset was sent is no sign`() {
    let connection = reset { wire in
      wire.server("R.", sequence: 5044)
      wire.server("P.", ok)
    }
    #expect(connection?.forgeryMarks == [])
  }

  @Test func `the identification of our own packet`() {
    let connection = reset { wire in
      wire.server("R.") { $0.identification = wire.clientEnd.identification }
    }
    #expect(connection?.forgeryMarks == ["IP identification copied from the originator"])
  }

  @Test func `an answer sooner than the round trip`() {
    let wire = Wire()
    wire.client("S")
    wire.server("S.", after: 40)
    wire.client(".")
    wire.client("P.", get, after: 5000)
    wire.server("R", after: 2, window: 0) { $0.identification = 0 }
    #expect(wire.connection()?.forgeryMarks == ["sooner than the round trip"])
  }
}
