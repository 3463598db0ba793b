import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

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
