import Evidence
import Testing

struct PacketFlagsTests {
  @Test func `flags read as tcpdump writes them`() {
    #expect(PacketFlags([.syn]).description == "S")
    #expect(PacketFlags([.syn, .ack]).description == "S.")
    #expect(PacketFlags([.psh, .ack]).description == "P.")
    #expect(PacketFlags([.fin, .ack]).description == "F.")
    #expect(PacketFlags([]).description == "none")
  }

  @Test func `every combination survives its text`() {
    for value in UInt8.min...UInt8.max {
      let flags = PacketFlags(rawValue: value)
      #expect(PacketFlags(flags.description) == flags)
    }
    #expect(PacketFlags("x") == nil)
  }
}
