import CaptureFile
import Evidence
import Testing

@testable import PacketProbe

/// Whatever comes, nothing traps, and every connection is told once.
@Suite struct RobustnessTests {
  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
  }

  private let texts = [
    "", "", "x", "GET / HTTP/1.1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.",
    "PRI * HTTP/2.0\r\n",
    "\u{16}\u{03}\u{01}", "\u{17}\u{03}\u{03}", "GET ", "HEAD / HTTP/1.1\r\n\r\n", "0\r\n\r\n",
    "\n",
  ]

  @Test(arguments: [UInt64(1), 2, 3]) func `random segments on a few tuples`(seed: UInt64) {
    var random = Generator(state: seed &* 0x9e37_79b9_7f4a_7c15)
    for attached in [false, true] {
      var options = attached ? TrackerOptions.attached : .offline
      options.maximumConnections = 5
      final class Count { var ids: [UInt64: Int] = [:] }
      let count = Count()
      var tracker = Tracker(options: options) { count.ids[$0.id, default: 0] += 1 }
      var time: Int64 = 0
      for _ in 0..<10_000 {
        var frame = Frame()
        let fromClient = Bool.random(using: &random)
        frame.sourcePort = 1000 + UInt16.random(in: 0..<8, using: &random)
        if !fromClient {
          swap(&frame.source, &frame.destination)
          swap(&frame.sourcePort, &frame.destinationPort)
        }
        let near = [UInt32(0), 1, 2, 100, 20_000, .max, .max - 1, 1 << 31, 1 << 30]
        frame.sequence = near.randomElement(using: &random) ?? 0
        frame.acknowledgement = near.randomElement(using: &random) ?? 0
        frame.flags =
          UInt8.random(in: 0...31, using: &random) & UInt8.random(in: 0...31, using: &random)
        frame.window = UInt16.random(in: 0...1, using: &random) &* 500
        frame.payload = Array((texts.randomElement(using: &random) ?? "").utf8)
        frame.timeToLive = UInt8.random(in: 60...64, using: &random)
        time &+= Int64.random(in: -1_000_000...200_000_000, using: &random)
        if Int.random(in: 0..<2000, using: &random) == 0 { time &+= 400_000_000_000 }
        let bytes = frame.ethernet
        bytes.withUnsafeBytes { raw in
          tracker.process(
            CapturedPacket(
              time: time, interface: 0, linkType: .ethernet, originalLength: UInt32(bytes.count),
              bytes: UnsafeRawBufferPointer(rebasing: raw[..<min(raw.count, 90)])))
        }
      }
      tracker.finish()
      let connections = tracker.counters.connections
      let left = (tracker.table.count, tracker.endings.count, tracker.ranges.count)
      #expect(left == (0, 0, 0))
      if !attached {
        #expect(count.ids.count == Int(connections))
        #expect(count.ids.values.allSatisfy { $0 == 1 })
      }
    }
  }

  @Test func `times at the ends of what can be counted`() {
    for time in [Int64.min, .min + 1, -1, 0, .max - 1, .max] {
      let bytes = Frame().ethernet
      let packets = [(time: time, bytes: bytes, length: 60), (time: 0, bytes: bytes, length: 60)]
      #expect(Wire.connections(packets).connections.count >= 1)
    }
  }
}
