import Evidence
import Glibc
import Testing

@testable import PacketProbe

/// Real sockets on the loopback of a network namespace of the test's own.
@Suite(.enabled(if: getuid() == 0)) struct LiveTests {
  @Test(arguments: [false, true]) func `a FIN, an abort and a refusal are told right`(
    six: Bool
  ) throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: six)
      let upstream = listener.endpoint
      // Nothing listens there.
      let closed = Endpoint(address: upstream.address, port: 1)
      let probe = PacketProbe(
        host: "test", upstreams: UpstreamFilter(endpoints: [upstream, closed]))
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      log.wait { $0.contains { $0.manner == .fin && $0.connState == .sf } }
      try closeAfterRequest(listener, abort: true)
      log.wait { $0.contains { $0.manner == .activeReset } }
      let refused = socket(six ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      let result = connect(refused, to: closed)
      #expect(result == ECONNREFUSED)
      close(refused)
      log.wait { $0.contains { $0.manner == .refused } }
    }
    struct Told: Equatable {
      var closer: Closer
      var manner: Manner?
      var phase: Phase
      var delivery: RequestDelivery
      var request: String?
    }
    var last: [UInt64: Connection] = [:]
    for connection in seen.connections { last[connection.id] = connection }
    let told = last.sorted { $0.key < $1.key }.map(\.value).map {
      Told(
        closer: $0.closer, manner: $0.manner, phase: $0.phase, delivery: $0.requestDelivery,
        request: $0.request)
    }
    #expect(
      told == [
        Told(
          closer: .responder, manner: .fin, phase: .awaitingResponse, delivery: .acknowledged,
          request: "GET /x"),
        Told(
          closer: .responder, manner: .activeReset, phase: .awaitingResponse,
          delivery: .acknowledged, request: "GET /x"),
        Told(
          closer: .responder, manner: .refused, phase: .connecting, delivery: .neverSent,
          request: nil),
      ])
    let books = try #require(seen.counters.last)
    #expect(books.source == "packets")
    #expect(books.lost == 0)
    #expect(books.details["connections"] == 3)
  }

  @Test(arguments: [false, true])
  func `light capture says who and how, and does not guess the rest`(six: Bool) throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: six)
      var settings = PacketProbe.Settings()
      settings.mode = .light
      let probe = PacketProbe(
        host: "test", upstreams: UpstreamFilter(endpoints: [listener.endpoint]),
        settings: settings)
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      log.wait { $0.contains { $0.manner == .fin && $0.connState == .sf } }
      try closeAfterRequest(listener, abort: true)
      log.wait { $0.contains { $0.manner == .activeReset } }
    }
    var last: [UInt64: Connection] = [:]
    for connection in seen.connections { last[connection.id] = connection }
    let told = last.sorted { $0.key < $1.key }.map(\.value)
    #expect(told.map(\.closer) == [.responder, .responder])
    #expect(told.map(\.manner) == [.fin, .activeReset])
    #expect(told.map(\.phase) == [.unknown, .unknown])
    #expect(told.map(\.requestDelivery) == [.unknown, .unknown])
    #expect(told.map(\.exchanges) == [nil, nil])
    #expect(told.map(\.isLight) == [true, true])
    // SYN and SYN-ACK; then both FINs, or the reset. Neither the request nor an acknowledgement.
    #expect(seen.counters.last?.seen == 7)
    #expect(seen.blindSpots.map(\.id) == [lightCaptureBlindSpot])
  }

  @Test func `on the loopback alone each packet is captured once`() throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: false)
      var settings = PacketProbe.Settings()
      settings.device = "lo"
      let probe = PacketProbe(
        host: "test", upstreams: UpstreamFilter(endpoints: [listener.endpoint]),
        settings: settings)
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      log.wait { $0.contains { $0.connState == .sf } }
    }
    let connection = try #require(seen.connections.last)
    let books = try #require(seen.counters.last)
    #expect(books.seen == connection.originatorPackets + connection.responderPackets)
  }

  @Test func `other upstreams can be watched while it runs`() throws {
    let seen = try inNamespace { log in
      let listener = try Listener(six: false)
      let probe = PacketProbe(host: "test", upstreams: UpstreamFilter(ports: [1]))
      try probe.open()
      try probe.start { observation in log.add(observation) }
      defer { probe.stop() }
      try closeAfterRequest(listener, abort: false)
      probe.watch(UpstreamFilter(endpoints: [listener.endpoint]))
      // The change is taken within a tenth of a second: try until one is seen.
      for _ in 0..<100 where log.connections.isEmpty {
        try closeAfterRequest(listener, abort: true)
        usleep(100_000)
      }
    }
    #expect(seen.connections.first?.manner == .activeReset)
  }

  @Test func `a device that is not there says what is`() throws {
    _ = try inNamespace { _ in
      var settings = PacketProbe.Settings()
      settings.device = "nothing0"
      let probe = PacketProbe(host: "test", upstreams: nil, settings: settings)
      let error = #expect(throws: ProbeError.self) { try probe.open() }
      #expect(error?.doing == "capture on nothing0")
      #expect(error?.remedy == "`ip link` lists the interfaces, and `any` stands for all of them")
      probe.stop()
    }
  }
}
