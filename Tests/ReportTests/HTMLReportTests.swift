import Correlator
import Evidence
import Testing

@testable import Report

@Suite struct HTMLReportTests {
  private func html(_ session: inout ReportSession) -> String {
    let (summary, facts) = session.finished()
    return HTMLReport(version: "upclose test").render(summary, facts)
  }

  @Test func `the first screen is the sentence that matters, and the fix`() throws {
    var session = ReportSession()
    for index in 0..<6 {
      _ = session.idleClose(after: .seconds(5), at: .seconds(Int64(index * 10 + 10)))
    }
    session.race(at: .seconds(80))
    let text = html(&session)
    let header = try #require(text.split(separator: "<h2").first)
    #expect(header.contains("<h1>1 upstream error: stale keepalive race, 10.0.0.11:8080</h1>"))
    #expect(header.contains("closes idle connections after 5.00 s (n="))
    #expect(header.contains("<pre>keepalive_timeout 4s;</pre>"))
    #expect(text.contains("nginx keeps 1 min"))
    #expect(text.contains("backend closes 5.00 s"))
  }

  @Test func `what comes from outside is no markup`() {
    var session = ReportSession()
    session.race(at: .seconds(10), request: "GET /<script>alert('x')</script>\" HTTP/1.1")
    session.observe(
      .kernel(KernelEvent(kind: .network("<img src=x>"), text: "<img src=x onerror=alert(1)>")),
      at: .seconds(11))
    let text = html(&session)
    #expect(!text.contains("<script>alert"))
    #expect(!text.contains("<img"))
    #expect(text.contains("GET /&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;"))
    #expect(text.contains("&lt;img src=x onerror=alert(1)&gt;"))
  }

  @Test func `text from outside cannot name a place of the page`() {
    var session = ReportSession()
    session.race(at: .seconds(10), request: "GET /{{script}} HTTP/1.1")
    let text = html(&session)
    #expect(text.contains("GET /{{script}}"))
    #expect(text.split(separator: "\"use strict\"").count == 2)
  }

  @Test func `it names no address that a browser would ask`() {
    var session = ReportSession()
    session.race(at: .seconds(10))
    let text = html(&session)
    for mark in ["src=", "@import", "url(", "<link rel=\"stylesheet", "fetch("] {
      #expect(!text.contains(mark), "\(mark)")
    }
    // The name of the SVG namespace is no address that is asked.
    #expect(text.split(separator: "http://").count == 2)
    #expect(!text.contains("https://"))
  }

  @Test func `ten thousand incidents make a page of bounded size that says what it leaves out`() {
    var session = ReportSession()
    for index in 0..<10_050 {
      let time = TimeSpan.milliseconds(Int64(10_000 + index * 100))
      session.race(at: time)
      if index % 50 == 0 { session.advance(to: time - .seconds(2)) }
    }
    let text = html(&session)
    #expect(text.utf8.count < 3_000_000)
    #expect(text.contains(" more like these are counted and not listed"))
    #expect(text.contains("50 more were counted in the findings, but not kept."))
    #expect(text.split(separator: "<svg class=\"sequence\"").count - 1 == SessionFacts.detailLimit)
  }

  @Test func `a quiet session says so`() {
    var session = ReportSession()
    let text = html(&session)
    #expect(text.contains("<h1>No upstream error was logged.</h1>"))
    #expect(text.contains("hero good"))
  }

  @Test func `the packets of an incident are drawn with their numbers, and what is missing`() throws
  {
    var session = ReportSession()
    session.race(at: .seconds(10))
    session.advance(to: .seconds(12))
    let connection = try #require(session.facts.connections.values.first)
    let base = ReportSession.start + .seconds(10)
    func packet(
      _ after: TimeSpan, nginx: Bool, _ flags: PacketFlags, _ sequence: UInt32, _ ack: UInt32,
      _ length: UInt32 = 0
    ) -> PacketRecord {
      PacketRecord(
        time: base + after, isFromOriginator: nginx, flags: flags, sequence: sequence,
        acknowledgement: ack, length: length, window: 500)
    }
    session.observe(
      .packets(
        PacketTrail(
          connection: connection.id, flow: connection.flow,
          packets: [
            packet(.zero, nginx: false, [.fin, .ack], 4_294_967_290, 1000),
            packet(.milliseconds(4), nginx: true, [.psh, .ack], 1000, 4_294_967_290, 100),
            packet(.milliseconds(5), nginx: false, .rst, 4_294_967_290, 0),
          ], isCut: true)), at: .seconds(12))
    let text = html(&session)
    #expect(text.contains("earlier packets are not shown"))
    #expect(text.contains("seq 0:100 ack 0"))
    #expect(text.contains("RST (no ACK)"))
    #expect(text.contains("the request was never read: no response"))
    #expect(text.contains(">+4.00 ms<"))
  }
}

@Suite struct LaneTests {
  @Test func `a lane has a bounded number of marks, and counts every one`() {
    var lane = Lane()
    for index in 0..<20_000 {
      let isBad = index == 12_345
      lane.add(
        at: Timestamp(seconds: 1000) + .milliseconds(Int64(index) * 37), isBad ? .bad : .quiet,
        isBad ? "the bad one" : "mark \(index)")
    }
    #expect(lane.marks.count <= Lane.limit)
    #expect(lane.count == 20_000)
    #expect(lane.marks.filter { $0.weight == .bad }.map(\.text) == ["the bad one"])
  }

  @Test func `marks before the epoch keep their order`() {
    var lane = Lane()
    for second in [-3, -1, 2] as [Int64] {
      lane.add(at: Timestamp(seconds: second), .quiet, "\(second)")
    }
    #expect(lane.marks.map(\.text) == ["-3", "-1", "2"])
  }
}
