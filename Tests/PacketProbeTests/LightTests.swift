import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// Capture of SYN, FIN and RST only, and the way there and back.
@Suite struct LightTests {
  /// What the tracker tells of the wire, when it turns light after so many packets, and full again.
  private func connections(
    _ wire: Wire, lightFrom: Int = 0, fullFrom: Int = .max
  ) -> [Connection] {
    final class Box { var connections: [Connection] = [] }
    let box = Box()
    var tracker = Tracker(options: .attached) { box.connections.append($0) }
    for (index, packet) in wire.packets.enumerated() {
      if index == lightFrom { tracker.goLight() }
      if index == fullFrom { tracker.goFull(at: packet.time - 1) }
      let isLight = index >= lightFrom && index < fullFrom
      // Behind 14 bytes of Ethernet, 20 of IPv4 and 13 of TCP.
      if isLight, packet.bytes[47] & 7 == 0 { continue }
      packet.bytes.withUnsafeBytes { bytes in
        tracker.process(
          CapturedPacket(
            time: packet.time, interface: 0, linkType: .ethernet,
            originalLength: UInt32(packet.length), bytes: bytes))
      }
      tracker.advance(to: packet.time)
    }
    tracker.advance(to: wire.time + 10_000_000_000)
    return box.connections
  }

  private struct Told: Equatable {
    var closer: Closer
    var manner: Manner?
    var phase: Phase
    var delivery: RequestDelivery
    var exchanges: Int?
    var isLight: Bool

    init(
      _ closer: Closer, _ manner: Manner?, _ phase: Phase, _ delivery: RequestDelivery,
      _ exchanges: Int?, isLight: Bool = true
    ) {
      self.closer = closer
      self.manner = manner
      self.phase = phase
      self.delivery = delivery
      self.exchanges = exchanges
      self.isLight = isLight
    }

    init?(_ connection: Connection?) {
      guard let c = connection else { return nil }
      self.init(
        c.closer, c.manner, c.phase, c.requestDelivery, c.exchanges, isLight: c.isLight)
    }
  }

  @Test func `an idle close and one that left a request unanswered are not told apart`() {
    let idle = Wire()
    idle.handshake()
    idle.exchange()
    idle.server("F.", after: 3000)
    idle.client("F.")
    let failed = Wire()
    failed.handshake()
    failed.client("P.", get)
    failed.server("F.", after: 3000)
    failed.client("F.")
    for wire in [idle, failed] {
      let found = connections(wire)
      #expect(Told(found.last) == Told(.responder, .fin, .unknown, .unknown, nil))
      #expect(found.last?.idleBeforeClose == nil)
      #expect(found.last?.rtt == nil)
      #expect(found.last?.requestAfterFIN == false)
      #expect(found.last?.originatorBytes == UInt64(get.utf8.count))
    }
  }

  @Test func `a connection on which nothing was said is known as such`() {
    let wire = Wire()
    wire.handshake()
    wire.server("F.", after: 3000)
    wire.client("F.")
    #expect(Told(connections(wire).last) == Told(.responder, .fin, .idle, .neverSent, 0))
  }

  @Test func `a refused connection and an unanswered one are known as ever`() {
    let refused = Wire()
    refused.client("S")
    refused.server("R.", acknowledgement: 1001)
    #expect(
      Told(connections(refused).last) == Told(.responder, .refused, .connecting, .neverSent, nil))
    let silent = Wire()
    silent.client("S")
    silent.client("S", after: 1000, sequence: 1000)
    #expect(
      Told(connections(silent).first) == Told(.unknown, .timeout, .connecting, .neverSent, nil))
  }

  @Test func `a reset keeps its kind`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server("R", window: 0)
    #expect(
      Told(connections(wire).last) == Told(.responder, .passiveReset, .unknown, .unknown, nil))
  }

  @Test func `what was open when it turned light is light`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    let packets = wire.packets.count
    wire.server("P.", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    wire.server("F.", after: 2000)
    wire.client("F.")
    let found = connections(wire, lightFrom: packets)
    #expect(Told(found.last) == Told(.responder, .fin, .unknown, .unknown, nil))
  }

  @Test func `back at headers, the next request is known whole, and the count is not`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    let packets = wire.packets.count
    wire.client("P.", get)
    wire.server("F.", after: 20)
    wire.client("F.")
    let found = connections(wire, fullFrom: packets)
    #expect(
      Told(found.last)
        == Told(.responder, .fin, .awaitingResponse, .acknowledged, nil, isLight: false))
  }

  @Test func `a light connection leaves the table when both have closed`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.server("F.", after: 3000)
    wire.client("F.")
    var tracker = Tracker(options: .attached) { _ in }
    tracker.goLight()
    for packet in wire.packets where packet.bytes[47] & 7 != 0 {
      packet.bytes.withUnsafeBytes { bytes in
        tracker.process(
          CapturedPacket(
            time: packet.time, interface: 0, linkType: .ethernet,
            originalLength: UInt32(packet.length), bytes: bytes))
      }
    }
    #expect(tracker.table.count == 1)
    tracker.advance(to: wire.time + 6_000_000_000)
    #expect(tracker.table.count == 0)
  }

  @Test func `of many ordinary ends a few are told and the others counted`() {
    final class Box { var connections: [Connection] = [] }
    let box = Box()
    var options = TrackerOptions.attached
    options.live?.ordinaryReports = 3
    var tracker = Tracker(options: options) { box.connections.append($0) }
    var end: Int64 = 0
    for port in 0..<7 as Range<UInt16> {
      let wire = Wire()
      wire.template.sourcePort = 40000 + port
      wire.handshake()
      wire.exchange()
      if port == 6 { wire.client("P.", get) }
      wire.server("F.")
      wire.client("F.")
      for packet in wire.packets {
        packet.bytes.withUnsafeBytes { bytes in
          tracker.process(
            CapturedPacket(
              time: packet.time, interface: 0, linkType: .ethernet,
              originalLength: UInt32(packet.length), bytes: bytes))
        }
      }
      end = max(end, wire.time)
    }
    tracker.advance(to: end + 500_000_000)
    // Three that are ordinary, and the one whose request got no answer.
    #expect(box.connections.map(\.phase) == [.idle, .idle, .idle, .awaitingResponse])
    let responder = Endpoint(address: IPAddress(v4: 0x0a00_0002), port: 8080)
    #expect(tracker.ordinary.take() == [OrdinaryCloses(responder: responder, byResponder: 3)])
    #expect(tracker.ordinary.take().isEmpty)
  }
}

/// When headers are given up, and tried again.
@Suite struct CaptureBudgetTests {
  /// Seconds at which it changed, and to what.
  private func changes(
    seconds: Int, cpu: (Int) -> Double = { _ in 0 }, drops: (Int) -> UInt64 = { _ in 0 }
  ) -> [String] {
    var budget = CaptureBudget()
    var usage = CaptureBudget.Usage(time: 0, cpu: 0, seen: 0, dropped: 0)
    var found: [String] = []
    for second in 0..<seconds {
      usage.time = Double(second)
      usage.cpu += budget.isLight ? 0 : cpu(second)
      usage.seen += 10_000
      usage.dropped += budget.isLight ? 0 : drops(second)
      switch budget.judge(usage) {
      case nil: break
      case .goLight: found.append("\(second) light for \(budget.pauseSeconds)")
      case .goFull: found.append("\(second) full")
      }
    }
    return found
  }

  @Test func `a quiet machine keeps headers`() {
    #expect(changes(seconds: 200, cpu: { _ in 0.25 }, drops: { $0 % 2 == 0 ? 1 : 0 }).isEmpty)
  }

  @Test func `one bad second of drops is enough, and a minute later headers are back`() {
    #expect(changes(seconds: 200, drops: { $0 == 10 ? 50 : 0 }) == ["10 light for 60", "70 full"])
  }

  @Test func `the CPU counts over five seconds`() {
    #expect(changes(seconds: 60, cpu: { $0 == 10 ? 1 : 0.1 }).isEmpty)
    #expect(changes(seconds: 60, cpu: { _ in 0.5 }) == ["5 light for 60"])
  }

  @Test func `a load that stays makes the pauses longer, up to an hour`() {
    let found = changes(seconds: 20_000, cpu: { _ in 0.5 }).filter { $0.contains("light") }
    let pauses = found.compactMap { Int($0.split(separator: " ").last ?? "") }
    #expect(pauses.prefix(8) == [60, 120, 240, 480, 960, 1920, 3600, 3600])
  }
}
