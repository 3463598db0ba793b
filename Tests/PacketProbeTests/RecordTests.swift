import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// How a connection lies in memory, and what depends on it.
@Suite struct RecordTests {
  @Test func `fields are where arithmetic looks for them`() {
    #expect(MemoryLayout<Record>.size == 256)
    #expect(MemoryLayout<Record>.stride == 256)
    #expect(MemoryLayout<Side>.stride == 32)
    #expect(MemoryLayout<Record>.offset(of: \.originator) == 0)
    #expect(MemoryLayout<Record>.offset(of: \.responder) == 32)
    #expect(MemoryLayout<Record>.offset(of: \.originatorRest) == Record.restOffset)
    #expect(MemoryLayout<Record>.offset(of: \.responderRest) == Record.restOffset + 32)
    #expect(MemoryLayout<Record>.offset(of: \.gaps) == Record.gapsOffset)
    // What an ordinary packet needs.
    #expect(MemoryLayout<Record>.offset(of: \.pair) == 64)
    #expect(MemoryLayout<Extras>.offset(of: \.originator) == 0)
    #expect(MemoryLayout<Extras>.offset(of: \.addresses) == Extras.addressesOffset)
    #expect(MemoryLayout<Ending>.offset(of: \.originator) == Ending.originatorOffset)
    #expect(MemoryLayout<Ending>.offset(of: \.responder) == Ending.responderOffset)
  }

  @Test func `every history letter is read as it was written`() {
    var history = PackedHistory()
    let letters = Array("SHADFRadfr^g".utf8)
    for letter in letters { history.append(letter) }
    #expect(history.count == PackedHistory.capacity)
    #expect((0..<history.count).map { history[$0] } == letters)
    var rare = PackedHistory()
    let others = Array("GTWIQCXgtwiq".utf8)
    for letter in others { rare.append(letter) }
    #expect((0..<rare.count).map { rare[$0] } == others)
  }

  private func six(_ last: UInt8) -> [UInt8] {
    [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [last]
  }

  /// The same ports, and addresses that differ in one bit; IPv4 among them.
  @Test func `connections of IPv6 are told apart by their addresses`() {
    let wires: [Wire] = (0..<4).map { index in
      let wire = Wire()
      if index > 0 {
        wire.template.source = six(UInt8(index))
        wire.template.destination = six(9)
      }
      wire.handshake()
      for _ in 0...index { wire.exchange() }
      wire.server("F.")
      wire.client("F.")
      wire.server(".")
      return wire
    }
    var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
    for place in 0..<(wires.map(\.packets.count).max() ?? 0) {
      for wire in wires where place < wire.packets.count { packets.append(wire.packets[place]) }
    }
    let found = Wire.connections(packets).connections.sorted { $0.id < $1.id }
    #expect(found.map(\.exchanges) == [1, 2, 3, 4])
    #expect(
      found.map(\.flow.originator.address.description) == [
        "10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8::3",
      ])
    #expect(found.map(\.connState) == [.sf, .sf, .sf, .sf])
  }
}
