import Evidence
import Testing

@testable import PacketProbe

/// Zeek's conn_state, one capture a state, with its history.
@Suite struct ZeekStateTests {
  private func expect(
    _ wire: Wire, _ state: ConnState, _ history: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let found = wire.connections().map { [$0.connState.rawValue, $0.history] }
    #expect(found == [[state.rawValue, history]], sourceLocation: sourceLocation)
  }

  @Test func `S0: a SYN without an answer`() {
    let wire = Wire()
    wire.client("S")
    expect(wire, .s0, "S")
  }

  @Test func `S0: the same SYN three times is written once`() {
    let wire = Wire()
    wire.client("S")
    wire.client("S", after: 1000, sequence: 1000)
    wire.client("S", after: 2000, sequence: 1000)
    expect(wire, .s0, "S")
  }

  @Test func `S0: an attempt is over after five seconds, and the next SYN starts another`() {
    let wire = Wire()
    wire.client("S")
    wire.client("S", after: 1000, sequence: 1000)
    wire.client("S", after: 6000, sequence: 1000)
    #expect(wire.connections().map(\.history) == ["S", "S"])
  }

  @Test(arguments: [(UInt16(8080), ["ShADa", "dA"]), (UInt16(22), ["ShADad"])])
  func `five minutes of silence end a connection, an hour where people type`(
    port: UInt16, histories: [String]
  ) {
    let wire = Wire()
    wire.template.destinationPort = port
    wire.handshake()
    wire.client("P.", "hello")
    wire.server(".")
    wire.client(".", after: 299_000)
    wire.server("P.", "again", after: 301_000)
    wire.client(".")
    #expect(wire.connections().map { $0.history.replacing("^", with: "") } == histories)
  }

  @Test func `S1: established and still open`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.server(".")
    expect(wire, .s1, "ShADa")
  }

  @Test func `SF: closed by both`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.server("P.", "200")
    wire.client("F.")
    wire.server("F.")
    wire.client(".")
    expect(wire, .sf, "ShADdFf")
  }

  @Test func `REJ: a SYN answered by a reset`() {
    let wire = Wire()
    wire.client("S")
    wire.server("R.", sequence: 0, window: 0)
    expect(wire, .rej, "Sr")
  }

  @Test func `S2: the originator's FIN, and no answer`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.server(".")
    wire.client("F.")
    wire.server(".")
    expect(wire, .s2, "ShADaF")
  }

  @Test func `S3: the responder's FIN, and no answer`() {
    let wire = Wire()
    wire.handshake()
    wire.server("F.")
    wire.client(".")
    expect(wire, .s3, "ShAf")
  }

  @Test func `RSTO: the originator reset`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.client("R.")
    expect(wire, .rsto, "ShADR")
  }

  @Test func `RSTR: the responder reset`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.server("R.")
    expect(wire, .rstr, "ShADr")
  }

  @Test func `RSTOS0: a SYN and then a reset of the originator`() {
    let wire = Wire()
    wire.client("S")
    wire.client("R")
    expect(wire, .rstos0, "SR")
  }

  @Test func `RSTRH: a SYN-ACK and then a reset, and no SYN`() {
    let wire = Wire()
    wire.server("S.", acknowledgement: 1001)
    wire.server("R")
    // Port 8080 is a likely server's: Zeek takes its sender for the responder.
    expect(wire, .rstrh, "^hr")
  }

  @Test func `SH: SYN and FIN of the originator alone`() {
    let wire = Wire()
    wire.client("S")
    wire.client("F")
    expect(wire, .sh, "SF")
  }

  @Test func `SHR: SYN-ACK and FIN of the responder alone`() {
    let wire = Wire()
    wire.server("S.", acknowledgement: 1001)
    wire.server("F.", acknowledgement: 1001)
    expect(wire, .shr, "^hf")
  }

  @Test func `OTH: data without a start`() {
    let wire = Wire()
    wire.client("P.", "GET /")
    wire.server("P.", "200")
    expect(wire, .oth, "Dd")
  }

  @Test func `OTH: a lone reset`() {
    let wire = Wire()
    wire.client("R")
    expect(wire, .oth, "R")
  }

  @Test func `a reset that comes after the responder's FIN is undone by the originator's FIN`() {
    let wire = Wire()
    wire.handshake()
    wire.server("F.")
    wire.client(".")
    wire.client("P.", "POST")
    wire.server("R", sequence: 5002)
    wire.client("F.")
    expect(wire, .sf, "ShAfDrF")
  }

  @Test func `a reset after both FINs changes nothing`() {
    let wire = Wire()
    wire.handshake()
    wire.client("F.")
    wire.server("F.")
    wire.client("R", sequence: 1002)
    expect(wire, .sf, "ShAFfR")
  }

  @Test func `simultaneous close`() {
    let wire = Wire()
    wire.handshake()
    wire.client("F.")
    wire.server("F.", acknowledgement: 1001)
    wire.client(".")
    wire.server(".")
    // The letter a of the responder: its last packet is a pure ACK.
    expect(wire, .sf, "ShAFfa")
  }

  @Test func `a SYN-ACK before its SYN is put right`() {
    let wire = Wire()
    wire.template.destinationPort = 9999
    wire.server("S.", acknowledgement: 1001)
    wire.client("S")
    wire.client(".")
    let found = wire.connections()
    #expect(found.map(\.history) == ["Hs^A"])
    #expect(found.map(\.connState) == [.s1])
    #expect(found.first?.flow.responder.port == 9999)
  }
}

/// Letters, their case, when they are written again.
@Suite struct ZeekHistoryTests {
  @Test func `retransmissions at the first, tenth and hundredth`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    for _ in 0..<99 { wire.client("P.", "GET /", sequence: 1001) }
    #expect(wire.connection()?.history == "ShADTT")
    wire.client("P.", "GET /", sequence: 1001)
    #expect(wire.connection()?.history == "ShADTTT")
  }

  @Test func `zero windows, but not on a reset nor after the other side's FIN`() {
    let wire = Wire()
    wire.handshake()
    wire.server(".", window: 0)
    wire.client("F.")
    wire.server(".", window: 0)
    wire.server("R", window: 0)
    #expect(wire.connection()?.history == "ShAawFr")
  }

  @Test func `a gap is written when it is acknowledged`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /")
    wire.server(".")
    wire.server(".", "lost", lost: true)
    wire.server("P.", "seen")
    #expect(wire.connection()?.history == "ShADad")
    wire.client(".")
    #expect(wire.connection()?.history == "ShADadg")
  }

  @Test func `data out of order is no gap`() {
    let wire = Wire()
    wire.handshake()
    wire.server(".", "first", lost: true)
    wire.server("P.", "second")
    wire.server(".", "first", sequence: 5001)
    wire.client(".")
    #expect(wire.connection()?.history == "ShAdt")
  }

  @Test func `payload cut by the snap length is a gap, as in Zeek, unless told otherwise`() {
    let wire = Wire()
    wire.snapLength = 96
    wire.handshake()
    wire.client("P.", String(repeating: "x", count: 400))
    wire.server(".")
    #expect(wire.connection()?.history == "ShADaG")
    var options = TrackerOptions.offline
    options.cutPayloadIsGap = false
    #expect(wire.connection(options)?.history == "ShADa")
  }

  @Test func `a FIN is written again when it stands elsewhere`() {
    let wire = Wire()
    wire.handshake()
    wire.client("F.")
    wire.client("F.", sequence: 1001)
    wire.client("F.", sequence: 1005)
    #expect(wire.connection()?.history == "ShAFF")
  }

  /// What a FIN's own number acknowledged used to make the data behind it look whole.
  @Test func `data behind a FIN that was acknowledged leaves a hole of one byte`() {
    let wire = Wire()
    wire.handshake()
    wire.server("F.")
    wire.client(".", acknowledgement: 5002)
    wire.server("P.", "late", sequence: 5001)
    wire.server("F.", sequence: 5005)
    wire.client(".", acknowledgement: 5006)
    #expect(wire.connection()?.history == "ShAfdfg")
  }

  @Test func `a wrong header length begins a connection, and is no packet of it`() {
    let wire = Wire()
    wire.client("S")
    // Behind Ethernet and IPv4: the TCP header says that it has four bytes.
    wire.packets[0].bytes[14 + 20 + 12] = 0x10
    let found = wire.connections()
    #expect(found.map { [$0.connState.rawValue, $0.history] } == [["OTH", ""]])
    #expect(found.map(\.originatorPackets) == [0])
  }

  @Test func `resets at other numbers are each written`() {
    let wire = Wire()
    wire.handshake()
    wire.server("R", sequence: 5001)
    wire.server("R", sequence: 5001)
    wire.server("R", sequence: 5011)
    #expect(wire.connection()?.history == "ShArr")
  }

  @Test func `packets of several flags`() {
    let wire = Wire()
    wire.handshake()
    wire.client("FR")
    wire.server("SF")
    #expect(wire.connection()?.history.hasPrefix("ShAI") == true)
    let christmas = Wire()
    christmas.client("SR")
    #expect(christmas.connection()?.history == "Q")
  }

  @Test func `midstream, a likely server's port is the responder's`() {
    let wire = Wire()
    wire.server("P.", "200")
    wire.client(".")
    #expect(wire.connection()?.history == "^dA")
    #expect(wire.connection()?.flow.responder.port == 8080)
  }

  @Test func `midstream, unlikely ports leave the first sender as originator`() {
    let wire = Wire()
    wire.template.destinationPort = 9999
    wire.server("P.", "200")
    #expect(wire.connection()?.history == "D")
    #expect(wire.connection()?.flow.originator.port == 9999)
  }

  @Test func `midstream between two likely ports, the higher is the originator's`() {
    let wire = Wire()
    wire.template.sourcePort = 8888
    wire.server("P.", "200")
    #expect(wire.connection()?.history == "^d")
    let other = Wire()
    other.template.sourcePort = 80
    other.server("P.", "200")
    #expect(other.connection()?.history == "D")
  }

  @Test func `named upstreams decide who responds, and what is followed`() {
    let wire = Wire()
    wire.template.destinationPort = 9999
    wire.server("P.", "200")
    var options = TrackerOptions.offline
    options.upstreams = UpstreamFilter(ports: [9999])
    #expect(wire.connection(options)?.flow.responder.port == 9999)
    options.upstreams = UpstreamFilter(
      endpoints: [Endpoint(address: IPAddress(v4: 0x0a00_0003), port: 9999)])
    #expect(wire.connection(options) == nil)
  }

  @Test func `a history of any length is kept`() {
    let wire = Wire()
    wire.handshake()
    for step in 0..<40 { wire.server("R", sequence: 5001 &+ UInt32(step) &* 10) }
    #expect(wire.connection()?.history == "ShA" + String(repeating: "r", count: 40))
  }
}
