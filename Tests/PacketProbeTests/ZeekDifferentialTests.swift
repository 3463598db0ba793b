import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// The tracker and the plain model of Zeek's rules say the same of traffic that nobody would think of.
@Suite struct ZeekDifferentialTests {
  struct Dice: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  }

  /// A conversation on one tuple, told badly: lost, doubled, out of order, cut, wrong.
  struct Talk {
    var client: UInt16
    var server: UInt16
    var next: [UInt32]
    var step = 0

    init(_ dice: inout Dice, client: UInt16) {
      self.client = client
      server = [80, 443, 22, 9999, 8080][dice.below(5)]
      next = [.random(in: 0 ... .max, using: &dice), .random(in: 0 ... .max, using: &dice)]
      if dice.chance(20) { next[dice.below(2)] = .max - UInt32(dice.below(3000)) }
      if dice.chance(30) { step = 3 }
    }

    mutating func packet(_ dice: inout Dice, time: Int64) -> ZeekModel.Packet {
      var side = dice.below(2)
      var packet = ZeekModel.Packet(time: time, from: 0, to: 0, sequence: 0)
      packet.ack = true
      switch step {
      case 0:
        side = 0
        packet.syn = true
        packet.ack = false
      case 1:
        side = 1
        packet.syn = true
      case 2: side = 0
      default:
        if dice.chance(60) { packet.length = [1, 5, 100, 1448, 9000][dice.below(5)] }
        if dice.chance(5) { packet.fin = true }
        if dice.chance(3) { packet.rst = true }
        if dice.chance(2) { packet.syn = true }
        if dice.chance(3) { packet.ack = false }
      }
      if dice.chance(90) { step += 1 }
      packet.sequence = next[side]
      packet.acknowledgement = next[1 - side]
      if dice.chance(2) { packet.window = 0 }
      packet.captured = dice.chance(4) ? packet.length / 2 : packet.length
      let isOdd = dice.chance(12)
      if isOdd { disturb(&packet, &dice) }
      if !isOdd || dice.chance(30) {
        next[side] = packet.sequence &+ UInt32(packet.length)
        if packet.syn { next[side] &+= 1 }
        if packet.fin { next[side] &+= 1 }
      }
      packet.from = side == 0 ? client : server
      packet.to = side == 0 ? server : client
      return packet
    }

    private func disturb(_ packet: inout ZeekModel.Packet, _ dice: inout Dice) {
      switch dice.below(8) {
      case 0: packet.sequence &-= UInt32(packet.length)
      case 1: packet.sequence &+= 1448
      case 2: packet.sequence &-= 1
      case 3: packet.acknowledgement &+= UInt32(dice.below(5000))
      case 4: packet.acknowledgement &-= UInt32(dice.below(5000))
      case 5: packet.sequence = .random(in: 0 ... .max, using: &dice)
      case 6: packet.acknowledgement = dice.chance(50) ? 0 : .random(in: 0 ... .max, using: &dice)
      default: packet.sequence &-= UInt32(dice.below(20_000))
      }
    }
  }

  static func frame(_ packet: ZeekModel.Packet) -> (bytes: [UInt8], length: Int) {
    var frame = Frame()
    frame.sourcePort = packet.from
    frame.destinationPort = packet.to
    frame.sequence = packet.sequence
    frame.acknowledgement = packet.acknowledgement
    frame.window = packet.window
    frame.flags =
      (packet.fin ? 1 : 0) | (packet.syn ? 2 : 0) | (packet.rst ? 4 : 0) | (packet.ack ? 16 : 0)
    if packet.from < packet.to { swap(&frame.source, &frame.destination) }
    frame.payload = [UInt8](repeating: 0x78, count: packet.length)
    let bytes = frame.ethernet
    return (Array(bytes.dropLast(packet.length - packet.captured)), bytes.count)
  }

  static func line(_ connection: Connection) -> ZeekModel.Line {
    ZeekModel.Line(
      start: connection.firstPacket.nanoseconds, originator: connection.flow.originator.port,
      responder: connection.flow.responder.port, state: connection.connState.rawValue,
      history: connection.history, duration: connection.duration?.nanoseconds,
      originatorBytes: connection.originatorBytes, responderBytes: connection.responderBytes,
      originatorPackets: Int(connection.originatorPackets),
      responderPackets: Int(connection.responderPackets))
  }

  @Test(arguments: 1...24) func `random conversations`(seed: Int) {
    var dice = Dice(state: UInt64(seed) &* 0x9e37_79b9_7f4a_7c15)
    var model = ZeekModel()
    var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
    var time: Int64 = 1_700_000_000_000_000_000
    var talks: [Talk] = (0..<6).map { Talk(&dice, client: UInt16(40000 + $0)) }
    for _ in 0..<4000 {
      let gaps: [Int64] = [0, 1, 50_000, 1_000_000, 40_000_000, 900_000_000]
      time += gaps[dice.below(6)]
      if dice.chance(1) { time += Int64(dice.below(70)) * 1_000_000_000 }
      let number = dice.below(talks.count)
      let packet = talks[number].packet(&dice, time: time)
      if dice.chance(1) {
        talks[number] = Talk(&dice, client: talks[number].client)
      }
      if dice.chance(6) { continue }
      for _ in 0..<(dice.chance(5) ? 2 : 1) {
        model.take(packet)
        let (bytes, length) = Self.frame(packet)
        packets.append((time, bytes, length))
      }
    }
    model.finish()
    func inOrder(_ lines: [ZeekModel.Line]) -> [ZeekModel.Line] {
      lines.sorted {
        ($0.start, $0.originator, $0.responder) < ($1.start, $1.originator, $1.responder)
      }
    }
    let expected = inOrder(model.lines)
    let found = inOrder(Wire.connections(packets).connections.map(Self.line))
    #expect(found.count == expected.count)
    let different = zip(found, expected).first { $0 != $1 }
    #expect(different?.0 == different?.1)
    // They are many, and of every kind that random traffic makes.
    #expect(expected.count > 50)
  }
}
