import Evidence
import Foundation
import Testing

@Suite struct TextFormTests {
  @Test(arguments: [
    ("2026-11-24T10:01:02.123456789Z", 1_795_514_462_123_456_789),
    ("1970-01-01T00:00:00.000000000Z", 0),
    ("1969-12-31T23:59:59.999999999Z", -1),
    ("2024-02-29T00:00:00.000000000Z", 1_709_164_800_000_000_000),
    ("2000-03-01T12:00:00.500000000Z", 951_912_000_500_000_000),
  ])
  func `a time is written and read back`(text: String, nanoseconds: Int64) {
    let time = Timestamp(nanoseconds: nanoseconds)
    #expect(time.description == text)
    #expect(Timestamp(iso8601: text) == time)
  }

  @Test func `offsets and short forms are read`() {
    let time = Timestamp(seconds: 1_795_514_462)
    #expect(Timestamp(iso8601: "2026-11-24T11:01:02+01:00") == time)
    #expect(Timestamp(iso8601: "2026-11-24 11:01:02,0+0100") == time)
    #expect(time.iso8601(offset: -12600, digits: 0) == "2026-11-24T06:31:02-03:30")
    #expect(time.timeOfDay(offset: 3600) == "11:01:02.000")
    for wrong in ["", "2026-13-01T00:00:00Z", "2026-11-24", "2026-11-24T10:01:02X", "24/11/2026"] {
      #expect(Timestamp(iso8601: wrong) == nil)
    }
  }

  @Test(arguments: [
    "127.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::1:0:0:1", "1:2:3:4:5:6:7:8",
    "2001:db8:0:1:1:1:1:1",
  ])
  func `an address is written as it was read`(text: String) {
    #expect(IPAddress(text)?.description == text)
  }

  @Test func `a mapped address is its IPv4 address`() {
    #expect(IPAddress("::ffff:192.0.2.1") == IPAddress("192.0.2.1"))
    #expect(IPAddress("2001:0DB8:0:0:0:0:0:1")?.description == "2001:db8::1")
  }

  @Test(arguments: [
    "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.x", ":", ":::", "1::2::3", "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9", "12345::", "::1%eth0", "+1.2.3.4", "1:2:3:4:5:6:7::8",
  ])
  func `what is no address is refused`(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func `endpoints and peers`() {
    #expect(Endpoint("[::1]:80")?.description == "[::1]:80")
    #expect(Endpoint("10.0.0.1:65536") == nil)
    #expect(Endpoint("::1:80") == nil)
    #expect(UpstreamPeer("10.0.0.1:80")?.endpoint?.port == 80)
    #expect(UpstreamPeer("unix:/run/a.sock") == .unix("/run/a.sock"))
    #expect(UpstreamPeer("pair") == .group("pair"))
  }

  @Test(arguments: [
    (480, "480 ns"), (3210, "3.21 µs"), (12_000_000, "12.0 ms"), (5_001_000_000, "5.00 s"),
    (245_000_000_000, "4 min 5 s"), (60_000_000_000, "1 min"), (-1500, "-1.50 µs"),
    (7_380_000_000_000, "2 h 3 min"),
  ])
  func `a span carries its unit`(nanoseconds: Int64, text: String) {
    #expect(TimeSpan(nanoseconds: nanoseconds).description == text)
  }

  @Test func `bytes from outside cannot steer a terminal or forge a line`() {
    #expect(String(escapingControlsIn: "a\u{1b}[2J\nb".utf8) == "a\\x1B[2J\\x0Ab")
    #expect(String(escapingControlsIn: [0x61, 0xff, 0x62, 0xc3]) == "a\\xFFb\\xC3")
    #expect(String(escapingControlsIn: "gr\u{fc}n".utf8) == "gr\u{fc}n")
    #expect(String(escapingControlsIn: "a\u{202e}b".utf8) == "a\\xE2\\x80\\xAEb")
  }

  @Test func `an observation survives JSON`() throws {
    let flow = Flow(
      originator: try #require(Endpoint("10.0.0.1:4000")),
      responder: try #require(Endpoint("[2001:db8::2]:80")))
    let connection = Connection(
      id: 3, flow: flow, connState: .rstr, history: "ShADr",
      firstPacket: Timestamp(nanoseconds: 5), lastPacket: Timestamp(nanoseconds: 1_000_000_007),
      rtt: .microseconds(17), closer: .responder, manner: .activeReset,
      responderReset: Reset(time: Timestamp(nanoseconds: 9), manner: .activeReset))
    let observation = Observation(
      host: "h", time: TimeEstimate(Timestamp(nanoseconds: 77), within: .seconds(1)),
      fact: .connection(connection))
    let json = try JSONEncoder().encode(observation)
    #expect(try JSONDecoder().decode(Observation.self, from: json) == observation)
  }
}
