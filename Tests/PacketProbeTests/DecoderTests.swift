import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

@Suite struct DecoderTests {
  private struct Result: Equatable {
    var what: String
    var ports: [UInt16] = []
    var payload: UInt32 = 0
    var captured = 0
    var address: String = ""
  }

  private func decode(
    _ bytes: [UInt8], _ link: LinkType = .ethernet, snap: Int = 65535, original: Int? = nil
  ) -> Result {
    let captured = Array(bytes.prefix(snap))
    return captured.withUnsafeBytes { raw in
      var segment = Segment()
      let packet = CapturedPacket(
        time: 1, interface: 0, linkType: link,
        originalLength: UInt32(original ?? bytes.count), bytes: raw)
      let decoded = withUnsafePointer(to: packet) { packet in
        withUnsafeMutablePointer(to: &segment) { Decoder.decode(packet, into: $0) }
      }
      guard case .segment = decoded else { return Result(what: "\(decoded)") }
      let address = IPAddress(high: segment.destination.high, low: segment.destination.low)
      return Result(
        what: "segment", ports: [segment.sourcePort, segment.destinationPort],
        payload: segment.payloadLength, captured: segment.payload.count,
        address: address.description)
    }
  }

  private var frame: Frame {
    var frame = Frame()
    frame.payload = Array("GET /".utf8)
    frame.options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
    return frame
  }

  private var frame6: Frame {
    var frame = frame
    frame.source = [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
    frame.destination = [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [2]
    return frame
  }

  private let v4 = Result(
    what: "segment", ports: [40000, 8080], payload: 5, captured: 5, address: "10.0.0.2")
  private let v6 = Result(
    what: "segment", ports: [40000, 8080], payload: 5, captured: 5, address: "2001:db8::2")

  @Test func `every link type, IPv4 and IPv6`() {
    for (frame, expected) in [(frame, v4), (frame6, v6)] {
      #expect(decode(frame.ethernet) == expected)
      #expect(decode(frame.ethernet(tags: [0x8100])) == expected)
      #expect(decode(frame.ethernet(tags: [0x88a8, 0x8100])) == expected)
      #expect(decode(frame.ethernet(tags: [0x9100, 0x8100, 0x8100])) == expected)
      #expect(decode(frame.sll(), .linuxSLL) == expected)
      #expect(decode(frame.sll2(interface: 4), .linuxSLL2) == expected)
      #expect(decode(frame.ip, .raw) == expected)
      #expect(decode(frame.ip, LinkType(rawValue: 12)) == expected)
      #expect(decode(frame.null(family: [2, 0, 0, 0]), .null) == expected)
      #expect(decode(frame.null(family: [0, 0, 0, 30]), .loop) == expected)
    }
    #expect(decode(frame.ethernet, LinkType(rawValue: 999)).what == "unknownLink")
  }

  @Test func `IPv4 options and Ethernet's padding`() {
    var frame = frame
    frame.internetOptions = [7, 4, 1, 0, 1, 1, 1, 0]
    #expect(decode(frame.ethernet) == v4)
    frame.payload = []
    frame.options = []
    let padded = frame.ethernet + [UInt8](repeating: 0, count: 20)
    #expect(decode(padded).payload == 0)
  }

  @Test func `IPv6 extension headers`() {
    var frame = frame6
    frame.extensions = [
      (0, [0] + [UInt8](repeating: 0, count: 6)), (43, [1] + [UInt8](repeating: 0, count: 14)),
      (60, [0] + [UInt8](repeating: 0, count: 6)),
    ]
    #expect(decode(frame.ethernet) == v6)
    // A first fragment holds the header, a later one does not.
    frame.extensions = [(44, [0, 0, 1, 0, 0, 0, 9])]
    #expect(decode(frame.ethernet) == v6)
    frame.extensions = [(44, [0, 0, 9, 0, 0, 0, 9])]
    #expect(decode(frame.ethernet).what == "fragment")
  }

  @Test func `IPv4 fragments`() {
    var frame = frame
    frame.fragment = 0x2000
    #expect(decode(frame.ethernet) == v4)
    frame.fragment = 0x2001
    #expect(decode(frame.ethernet).what == "fragment")
  }

  @Test func `segmentation offload: 64 kB, and no length at all`() {
    var frame = frame
    frame.payload = [UInt8](repeating: 0, count: 60_000)
    #expect(decode(frame.ethernet, snap: 96).payload == 60_000)
    frame.totalLength = 0
    #expect(decode(frame.ethernet, snap: 96).payload == 60_000)
    var six = frame6
    six.payload = [UInt8](repeating: 0, count: 60_000)
    six.totalLength = 0
    #expect(decode(six.ethernet, snap: 96).payload == 60_000)
  }

  @Test func `cut by the snap length`() {
    // 14 + 20 + 20: the header's fixed part is enough.
    var expected = v4
    expected.captured = 0
    #expect(decode(frame.ethernet, snap: 60) == expected)
    #expect(decode(frame.ethernet, snap: 54) == expected)
    #expect(decode(frame.ethernet, snap: 53).what == "truncated")
    expected.captured = 2
    #expect(decode(frame.ethernet, snap: 68) == expected)
  }

  @Test func `what is not analysed`() {
    var frame = frame
    frame.transport = 17
    #expect(decode(frame.ethernet).what == "notTCP")
    frame.destinationPort = 4789
    #expect(decode(frame.ethernet).what.contains("vxlan"))
    frame.transport = 47
    #expect(decode(frame.ethernet).what.contains("gre"))
    frame.transport = 4
    #expect(decode(frame.ethernet).what.contains("ipInIP"))
    #expect(decode([UInt8](repeating: 2, count: 12) + [8, 6, 0, 0]).what == "notIP")
    frame.transport = 6
    frame.totalLength = 1400
    #expect(decode(frame.ethernet).what == "malformed")
  }

  @Test func `cut anywhere, and every byte damaged, does not trap`() {
    var extended = frame6
    extended.extensions = [(0, [0] + [UInt8](repeating: 0, count: 6))]
    let frames: [([UInt8], LinkType)] = [
      (frame.ethernet(tags: [0x88a8, 0x8100]), .ethernet), (extended.ethernet, .ethernet),
      (frame.sll(), .linuxSLL), (frame.sll2(interface: 1), .linuxSLL2), (frame.ip, .raw),
      (frame.null(family: [2, 0, 0, 0]), .null),
    ]
    for (bytes, link) in frames {
      for count in 0...bytes.count { _ = decode(bytes, link, snap: count) }
      for position in 0..<bytes.count {
        for value in [UInt8(0), 1, 0x45, 0x7f, 0xff] {
          var damaged = bytes
          damaged[position] = value
          _ = decode(damaged, link)
          _ = decode(damaged, link, original: 0)
        }
      }
    }
  }

  @Test func `TCP options`() {
    func options(_ bytes: [UInt8]) -> TCPOptions { bytes.withUnsafeBytes { TCPOptions($0) } }
    var expected = TCPOptions()
    expected.maximumSegmentSize = 1460
    expected.windowScale = 7
    expected.selectiveAcknowledgement = true
    expected.timestamps = .init(value: 0x0102_0304, echo: 0x0506_0708)
    #expect(
      options([2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]) == expected)
    #expect(options([0, 2, 4, 5, 180]) == TCPOptions())
    #expect(options([2, 0]) == TCPOptions())
    #expect(options([8, 10, 1]) == TCPOptions())
    #expect(options([2]) == TCPOptions())
  }
}
