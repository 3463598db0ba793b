import CaptureFile
import Evidence
import Glibc
import Testing

@testable import PacketProbe

/// How long connections had been idle when nginx reused them.
@Suite struct ReuseTests {
  private let backend = Endpoint(address: IPAddress(v4: 0x0a00_0002), port: 8080)

  private func gaps(_ build: (Wire) -> Void) -> [(time: Int64, gaps: ReuseGaps)] {
    let wire = Wire()
    let start = wire.time
    build(wire)
    var file = PcapWriter.header(linkType: .ethernet)
    for packet in wire.packets {
      packet.bytes.withUnsafeBytes { bytes in
        PcapWriter.append(
          time: packet.time, originalLength: UInt32(packet.length), bytes: bytes, to: &file)
      }
    }
    var name = Array("/tmp/upclose-reuse-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    unlink(name)
    defer { close(descriptor) }
    write(descriptor, file, file.count)
    var told: [(time: Int64, gaps: ReuseGaps)] = []
    let result = analyzeCapture(
      path: "/proc/self/fd/\(descriptor)",
      reuse: { told.append((($0.nanoseconds - start) / 1_000_000, $1)) }, report: { _ in })
    #expect(result.error == nil)
    return told
  }

  @Test func `gaps are counted from the response to the next request, a delta a second`() {
    let found = gaps { wire in
      wire.handshake()
      wire.exchange()
      for pause in [200.0, 200, 1500, 1500, 1500, 200, 1500, 1500, 200, 200] {
        wire.client("P.", get, after: pause)
        wire.server("P.", ok)
        wire.client(".")
      }
    }
    let total = found.reduce(into: [Int: UInt64]()) { $0.merge($1.gaps.counts) { $0 + $1 } }
    // nginx's ACK came 1 ms after the response.
    let short = ReuseGaps.bucket(of: .milliseconds(201))
    let long = ReuseGaps.bucket(of: .milliseconds(1501))
    #expect(total == [short: 5, long: 5])
    #expect(found.allSatisfy { $0.gaps.responder == backend })
    // Not one a request; what the last second counted is told at the end.
    #expect(found.count > 1 && found.count < 8)
    let times = found.dropLast().map(\.time)
    for (before, after) in zip(times, times.dropFirst()) { #expect(after - before >= 1000) }
  }

  @Test func `what began no request after an answer is not counted`() {
    // The rest of a request, an upgraded connection, TLS, and a request that got no answer.
    let found = gaps { wire in
      wire.handshake()
      wire.client("P.", "POST /u HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
      wire.server(".")
      wire.client("P.", "some body", after: 300)
      wire.server("P.", "HTTP/1.1 101 Switching Protocols\r\n\r\n")
      wire.client("P.", "ping", after: 900)
    }
    #expect(found.isEmpty)
    let tls = gaps { wire in
      wire.handshake()
      wire.client("P.", "\u{16}\u{3}\u{1} hello")
      wire.server("P.", "\u{16}\u{3}\u{3} hello")
      wire.client("P.", "\u{14}\u{3}\u{3} finished")
      wire.client("P.", "\u{17}\u{3}\u{3} request")
      wire.server("P.", "\u{17}\u{3}\u{3} " + String(repeating: "x", count: 100))
      wire.client("P.", "\u{17}\u{3}\u{3} request", after: 900)
    }
    #expect(tls.isEmpty)
  }
}
