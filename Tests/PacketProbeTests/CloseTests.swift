import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// What is ours of a close, in one value.
private struct Close: Equatable {
  var closer: Closer = .responder
  var manner: Manner? = .fin
  var phase: Phase = .idle
  var delivery: RequestDelivery = .neverSent
  var exchanges: Int? = 1
  var afterFIN = false
  var request: String?

  init(
    _ closer: Closer, _ manner: Manner?, _ phase: Phase, _ delivery: RequestDelivery,
    exchanges: Int? = 1, afterFIN: Bool = false, request: String? = nil
  ) {
    self.closer = closer
    self.manner = manner
    self.phase = phase
    self.delivery = delivery
    self.exchanges = exchanges
    self.afterFIN = afterFIN
    self.request = request
  }

  init?(_ connection: Connection?) {
    guard let connection else { return nil }
    self.init(
      connection.closer, connection.manner, connection.phase, connection.requestDelivery,
      exchanges: connection.exchanges, afterFIN: connection.requestAfterFIN,
      request: connection.request)
  }
}

private let get = "GET /a?token=secret HTTP/1.1\r\nHost: b\r\n\r\n"
private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

extension Wire {
  fileprivate func exchange() {
    client("P.", get)
    server(".")
    server("P.", ok)
    client(".")
  }
}

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

/// The table: reuse, wrap, room, copies.
@Suite struct TableTests {
  @Test func `a new SYN on the tuple is a new connection`() {
    let wire = Wire()
    wire.handshake()
    wire.server("F.")
    wire.client("F.")
    wire.server(".")
    wire.clientEnd.next = 77_000
    wire.serverEnd.next = 88_000
    wire.handshake()
    let found = wire.connections()
    #expect(found.map(\.history) == ["ShAfFa", "ShA"])
    #expect(found.map(\.id) == [1, 2])
  }

  @Test func `sequence numbers pass 2^32 on both sides`() {
    let wire = Wire()
    wire.clientEnd.next = .max - 10
    wire.serverEnd.next = .max - 3
    wire.handshake()
    for _ in 0..<3 { wire.exchange() }
    wire.server("F.")
    wire.client("F.")
    wire.server(".")
    let connection = wire.connection()
    #expect(connection?.connState == .sf)
    #expect(connection?.history == "ShADadfFa" || connection?.history == "ShADadfF")
    #expect([connection?.originatorBytes, connection?.responderBytes] == [123, 129])
    #expect(connection?.exchanges == 3)
  }

  @Test func `a bounded table forgets the oldest idle connection and counts it`() {
    var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
    for index in 0..<100 {
      var frame = Frame()
      frame.sourcePort = UInt16(1000 + index)
      frame.flags = 0x02
      packets.append((Int64(index) * 1_000_000, frame.ethernet, 60))
      // The first connection stays busy.
      frame.sourcePort = 1000
      frame.flags = 0x10
      packets.append((Int64(index) * 1_000_000 + 1000, frame.ethernet, 60))
    }
    var options = TrackerOptions.offline
    options.maximumConnections = 10
    let (found, counters) = Wire.connections(packets, options)
    #expect(counters.evicted == 90)
    let expected: [UInt16] = Array(1001...1090)
    #expect(found.prefix(90).map(\.flow.originator.port) == expected)
    #expect(found[90].flow.originator.port == 1000)
  }

  @Test func `the same packet on another interface is one, a retransmission is not`() {
    var frame = Frame()
    var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
    func add(_ microseconds: Int64, _ interface: UInt32) {
      let bytes = frame.sll2(interface: interface)
      packets.append((microseconds * 1000, bytes, bytes.count))
    }
    frame.flags = 0x02
    add(0, 3)
    add(2, 5)
    add(4, 6)
    // A retransmission: the same interface, its own identification.
    frame.identification += 1
    add(300, 3)
    add(301, 5)
    // The very same bytes on the same interface are kept.
    add(310, 3)
    // And on another one much later.
    add(900_000, 5)
    let (found, counters) = Wire.connections(packets, linkType: .linuxSLL2)
    #expect(counters.duplicates == 3)
    #expect(found.map(\.originatorPackets) == [4])
  }

  /// Every connection used to get its `Ending` with the SYN.
  @Test func `an ordinary open connection needs no more than its record`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    var tracker = Tracker(options: .attached) { _ in }
    for packet in wire.packets {
      packet.bytes.withUnsafeBytes { bytes in
        tracker.process(
          CapturedPacket(
            time: packet.time, interface: 0, linkType: .ethernet,
            originalLength: UInt32(packet.length), bytes: bytes))
      }
    }
    let counts = (tracker.table.count, tracker.endings.count, tracker.ranges.count)
    #expect(counts == (1, 0, 0))
    #expect(MemoryLayout<Record>.stride <= 288)
  }

  @Test func `many connections at once, each found again`() {
    var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
    for round in 0..<3 {
      for index in 0..<5000 {
        var frame = Frame()
        frame.source = [10, UInt8(index >> 8), UInt8(index & 255), 1]
        frame.sourcePort = UInt16(1024 + index)
        frame.flags = round == 0 ? 0x02 : 0x10
        frame.sequence = round == 0 ? 1 : 2
        packets.append((Int64(packets.count), frame.ethernet, 60))
      }
    }
    let (found, _) = Wire.connections(packets)
    #expect(found.count == 5000)
    #expect(Set(found.map(\.originatorPackets)) == [3])
    let expected: [UInt64] = Array(1...5000)
    #expect(found.map(\.id) == expected)
  }
}

/// When live capture tells a connection.
@Suite struct LiveReportTests {
  /// The reports, and when each was made (ms after the start).
  private func reports(_ build: (Wire) -> Void, wait: Int64 = 10_000) -> [(Int64, Connection)] {
    let wire = Wire()
    let start = wire.time
    build(wire)
    final class Log {
      var entries: [(Int64, Connection)] = []
      var now: Int64 = 0
    }
    let log = Log()
    var tracker = Tracker(options: .attached) { log.entries.append((log.now, $0)) }
    var next = wire.packets[...]
    for millisecond in 0..<(wire.packets.last.map { ($0.time - start) / 1_000_000 } ?? 0) + wait {
      log.now = millisecond
      let limit = start + millisecond * 1_000_000
      while let packet = next.first, packet.time <= limit {
        next = next.dropFirst()
        packet.bytes.withUnsafeBytes { bytes in
          tracker.process(
            CapturedPacket(
              time: packet.time, interface: 0, linkType: .ethernet,
              originalLength: UInt32(packet.length), bytes: bytes))
        }
      }
      tracker.advance(to: limit)
    }
    return log.entries
  }

  @Test func `a close by both is told 50 ms later, once`() {
    let found = reports { wire in
      wire.handshake()
      wire.exchange()
      wire.server("F.", after: 100)
      wire.client("F.")
      wire.server(".")
    }
    #expect(found.map(\.0) == [158])
    #expect(found.map(\.1.closer) == [.responder])
  }

  @Test func `a reset is told 50 ms later`() {
    let found = reports { wire in
      wire.handshake()
      wire.client("P.", get)
      wire.server("R.")
    }
    #expect(found.map(\.0) == [55])
    #expect(found.map(\.1.manner) == [.activeReset])
  }

  @Test func `a FIN alone is told after 200 ms, and again when the race shows`() {
    let found = reports { wire in
      wire.handshake()
      wire.exchange()
      wire.server("F.")
      wire.client("P.", "POST /b HTTP/1.1\r\n\r\n", after: 1000)
      wire.server("R", sequence: 5046, window: 0)
    }
    #expect(found.map(\.0) == [208, 1058])
    #expect(found.map(\.1.id) == [1, 1])
    #expect(found.map(\.1.requestAfterFIN) == [false, true])
  }

  @Test func `an unanswered SYN is told after a second, and after each retransmission`() {
    let found = reports { wire in
      wire.client("S", after: 0)
      wire.client("S", after: 1500, sequence: 1000)
      wire.client("S", after: 2000, sequence: 1000)
    }
    #expect(found.map(\.0) == [1000, 1550, 3550])
    #expect(found.map(\.1.manner) == [.timeout, .timeout, .timeout])
    #expect(Set(found.map(\.1.id)) == [1])
  }

  @Test func `a quiet keepalive connection is not told`() {
    let found = reports(
      { wire in
        wire.handshake()
        wire.exchange()
      }, wait: 20_000)
    #expect(found.isEmpty)
  }
}
