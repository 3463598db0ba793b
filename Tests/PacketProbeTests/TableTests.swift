import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

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
    #expect(MemoryLayout<Record>.stride <= 304)
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
