import Evidence
import Testing

@testable import Session

struct JSONCodingTests {
  private func roundTrip<T: Codable>(_ value: T) throws -> T {
    try NodeDecoder.decode(T.self, from: NodeEncoder.encode(value).bytes)
  }

  @Test func `an observation reads as jq wants it`() throws {
    let check = PortCheck(
      target: try #require(Endpoint("10.0.0.1:80")), outcome: .open,
      connectTime: .microseconds(45))
    let observation = Observation(
      host: "web\"1", time: TimeEstimate(exactly: Timestamp(nanoseconds: 1)), fact: .port(check))
    #expect(
      try NodeEncoder.encode(observation).text
        == #"{"host":"web\"1","time":{"best":"1970-01-01T00:00:00.000000001Z"},"#
        + #""fact":{"port":{"target":"10.0.0.1:80","outcome":"open","connectTime":4.5e-05}}}"#)
    #expect(try roundTrip(observation) == observation)
  }

  @Test(arguments: [
    Int64.min, .min + 1, -9_007_199_254_740_993, -1, 0, 1, 999_999_999, 9_007_199_254_740_993,
    .max - 1, .max,
  ])
  func `times survive to the nanosecond`(nanoseconds: Int64) throws {
    let span = TimeSpan(nanoseconds: nanoseconds)
    #expect(try roundTrip(span) == span)
    let time = Timestamp(nanoseconds: nanoseconds)
    #expect(try roundTrip(time) == time)
  }

  @Test func `any time and any length of time survives`() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      let shift = Int64.random(in: 0..<63, using: &generator)
      let nanoseconds = Int64.random(in: .min ... .max, using: &generator) >> shift
      let span = TimeSpan(nanoseconds: nanoseconds)
      let time = Timestamp(nanoseconds: nanoseconds)
      guard try roundTrip(span) == span, try roundTrip(time) == time else {
        Issue.record("\(nanoseconds) ns did not survive")
        return
      }
    }
  }

  @Test func `cases, nils, dictionaries and large numbers survive`() throws {
    let facts: [Observation.Fact] = [
      .kernel(KernelEvent(kind: .oomKill(OOMKill(pid: 7, command: "a\nb")), text: "x")),
      .kernel(KernelEvent(kind: .other, text: "é\u{1f600}\u{1}")),
      .kernel(KernelEvent(kind: .network("conntrack"), text: "")),
      .counters(Counters(source: "s", seen: .max, lost: 0, details: ["a b": .max, "": 1])),
      .reuseGaps(
        ReuseGaps(responder: try #require(Endpoint("[2001:db8::1]:80")), counts: [3: .max])),
      .upstreamTraffic(
        UpstreamTraffic(
          upstream: .group("pair"),
          connectTime: Quantiles(
            count: 1, p50: 0.1, p95: .infinity, p99: 1e300, largest: .leastNonzeroMagnitude))),
      .blindSpot(BlindSpot(id: "i", what: "w", cost: "c", remedy: nil)),
    ]
    for fact in facts { #expect(try roundTrip(fact) == fact) }
  }

  @Test func `what a newer version added is passed over, an unknown case is refused`() throws {
    let text = #"{"blindSpot":{"id":"i","what":"w","cost":"c","new":[1,{"a":null}]}}"#
    #expect(
      try NodeDecoder.decode(Observation.Fact.self, from: text.utf8)
        == .blindSpot(BlindSpot(id: "i", what: "w", cost: "c")))
    #expect(throws: (any Error).self) {
      try NodeDecoder.decode(Observation.Fact.self, from: #"{"yetUnknown":{}}"#.utf8)
    }
  }

  @Test(arguments: [
    "", "{", "[1,", "\"", "\"\\u12", "\"\\ud800\\u0041\"", "nul", "{\"a\"}", "1 2", "[1}",
    String(repeating: "[", count: 100_000),
  ])
  func `bad text is an error and no trap`(text: String) {
    #expect(throws: (any Error).self) { try JSONParser.parse(text.utf8) }
  }

  @Test func `text cut anywhere is an error or a value, and no trap`() throws {
    let text = Array(
      #"{"a":[1,-2.5e3,true,false,null,"\u00e9\ud83d\ude00\n"],"b":{"_0":"x"}}"#.utf8)
    for end in text.indices { _ = try? JSONParser.parse(text[..<end]) }
    let node = try JSONParser.parse(text)
    #expect(node.text == "{\"a\":[1,-2.5e3,true,false,null,\"é😀\\n\"],\"b\":{\"_0\":\"x\"}}")
  }

  @Test func `a digest is that of sha256sum`() {
    #expect(
      FileDigest(path: "", content: "abc".utf8).sha256
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(
      FileDigest(path: "", content: [UInt8](repeating: 0, count: 56)).sha256
        == "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb")
  }
}
