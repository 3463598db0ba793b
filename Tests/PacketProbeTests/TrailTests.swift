import CaptureFile
import Evidence
import Synchronization
import Testing

@testable import PacketProbe

/// The last packets of connections whose close an error may be about.
struct TrailTests {
  private func track(
    _ wire: Wire, ring: Int = 1 << 20, store: TrailStore, sink: (any HeaderSink)? = nil
  ) -> [Connection] {
    let found = Box()
    let keeper = HeaderKeeper(bytes: ring, store: store, sink: sink)
    var tracker = Tracker(options: .offline, keeper: keeper) { found.connections.append($0) }
    for packet in wire.packets {
      packet.bytes.withUnsafeBytes { bytes in
        tracker.process(
          CapturedPacket(
            time: packet.time, interface: 0, linkType: .ethernet,
            originalLength: UInt32(packet.length), bytes: bytes))
      }
    }
    tracker.finish()
    return found.connections
  }

  private final class Box { var connections: [Connection] = [] }

  private final class Sink: HeaderSink {
    let taken = Mutex<[(flags: PacketFlags, isEssential: Bool, count: Int)]>([])
    func take(
      time: Int64, linkType: LinkType, originalLength: UInt32, isEssential: Bool,
      bytes: UnsafeRawBufferPointer
    ) {
      let header = CapturedHeader(
        time: time, linkType: linkType, originalLength: originalLength, bytes: Array(bytes))
      let flags = PacketHeader(header)?.flags ?? []
      taken.withLock { $0.append((flags, isEssential, bytes.count)) }
    }
  }

  @Test func `the packets of an aborted exchange, without a byte of payload`() throws {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", "GET /secret HTTP/1.1\r\n\r\n")
    wire.server(".")
    wire.server("R.")
    let store = TrailStore()
    let connection = try #require(track(wire, store: store).first)
    let kept = try #require(store[connection.id])
    #expect(kept.trail.flow == connection.flow)
    #expect(!kept.trail.isCut)
    #expect(kept.trail.packets.map(\.flags.description) == ["S", "S.", ".", "P.", ".", "R."])
    #expect(
      kept.trail.packets.map(\.isFromOriginator) == [true, false, true, true, false, false])
    #expect(kept.trail.packets.map(\.length) == [0, 0, 0, 24, 0, 0])
    #expect(kept.trail.packets[0].sequence == 1000)
    #expect(kept.trail.packets[1].acknowledgement == 1001)
    #expect(kept.trail.packets.map(\.time).sorted() == kept.trail.packets.map(\.time))
    // Ethernet, IPv4 and TCP without options.
    #expect(kept.headers.allSatisfy { $0.bytes.count == 54 })
    #expect(kept.headers[3].originalLength == 54 + 24)
  }

  @Test func `a healthy connection leaves no trail`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.server("F.", after: 5000)
    wire.client("F.")
    wire.server(".")
    let store = TrailStore()
    let connections = track(wire, store: store)
    #expect(connections.count == 1)
    #expect(connections.allSatisfy { store[$0.id] == nil })
  }

  @Test func `of a long connection the last packets are kept, and the trail says so`() throws {
    let wire = Wire()
    wire.handshake()
    for _ in 0..<50 { wire.exchange() }
    wire.client("P.", "GET / HTTP/1.1\r\n\r\n")
    wire.server("R.")
    let store = TrailStore()
    let connection = try #require(track(wire, store: store).first)
    let trail = try #require(store[connection.id]?.trail)
    #expect(trail.isCut)
    #expect(trail.packets.count == HeaderKeeper.most)
    #expect(trail.packets.last?.flags == [.rst, .ack])
  }

  @Test func `a small ring forgets the oldest, and never tells another's packets`() throws {
    let wire = Wire()
    for port in UInt16(40_000)..<40_400 {
      wire.template.sourcePort = port
      wire.handshake()
      wire.client("P.", "GET / HTTP/1.1\r\n\r\n")
      if port == 40_399 { wire.server("R.") }
    }
    let store = TrailStore()
    // 64 slots.
    let connections = track(wire, ring: 0, store: store)
    let last = try #require(connections.first { $0.flow.originator.port == 40_399 })
    let trail = try #require(store[last.id]?.trail)
    #expect(trail.packets.map(\.flags.description) == ["S", "S.", ".", "P.", "R."])
    for connection in connections {
      guard let kept = store[connection.id] else { continue }
      #expect(kept.trail.packets.count <= 5)
      #expect(kept.trail.flow == connection.flow)
    }
  }

  @Test func `the store is bounded`() {
    let store = TrailStore(packets: 100)
    let flow = Flow(
      originator: Endpoint(address: IPAddress(v4: 1), port: 1),
      responder: Endpoint(address: IPAddress(v4: 2), port: 2))
    let header = CapturedHeader(time: 1, linkType: .raw, originalLength: 1, bytes: [])
    for id in UInt64(1)...1000 {
      store.put(
        TrailStore.Kept(
          trail: PacketTrail(connection: id, flow: flow),
          headers: Array(repeating: header, count: 10)))
    }
    let kept = (UInt64(1)...1000).filter { store[$0] != nil }
    #expect(kept.count <= 10)
    #expect(kept.last == 1000)
  }

  @Test func `a recording gets every SYN, FIN and RST, and no other`() {
    let wire = Wire()
    wire.handshake()
    wire.exchange()
    wire.server("F.")
    wire.client("P.", "GET / HTTP/1.1\r\n\r\n")
    wire.server("R")
    let sink = Sink()
    _ = track(wire, store: TrailStore(), sink: sink)
    let taken = sink.taken.withLock { $0 }
    #expect(taken.map(\.flags.description) == ["S", "S.", "F.", "R"])
    #expect(taken.map(\.isEssential) == [false, false, false, true])
    #expect(taken.allSatisfy { $0.count == 54 })
  }
}
