import Evidence
import Testing

@testable import Report

@Suite struct ConnectionLineTests {
  private var connection: Connection {
    Connection(
      id: 7,
      flow: Flow(
        originator: Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 40000),
        responder: Endpoint(address: IPAddress(high: 0x2001_0db8_0000_0000, low: 1), port: 8080)),
      connState: .sf, history: "ShADadfrF",
      firstPacket: Timestamp(nanoseconds: 1_700_000_000_000_000_005),
      lastPacket: Timestamp(nanoseconds: 1_700_000_006_000_000_000),
      duration: TimeSpan(nanoseconds: 6_000_001_000),
      closedAt: Timestamp(nanoseconds: 1_700_000_005_000_000_000), originatorBytes: 123,
      responderBytes: 0, originatorPackets: 6, responderPackets: 5,
      rtt: TimeSpan(nanoseconds: 123_456), closer: .responder, manner: .fin, phase: .idle,
      requestDelivery: .rejected, idleBeforeClose: .seconds(5), exchanges: 2,
      request: "POST /\"a\"", requestAfterFIN: true, forgeryMarks: ["one", "two"])
  }

  private func json(_ connection: Connection) -> String {
    var bytes: [UInt8] = []
    ConnectionLine.appendJSON(connection, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func `an object a line, with Zeek's names`() {
    let fields = [
      #""ts":1700000000.000000005"#, #""duration":6.000001"#, #""orig_h":"10.0.0.1""#,
      #""orig_p":40000"#, #""resp_h":"2001:db8::1""#, #""resp_p":8080"#, #""conn_state":"SF""#,
      #""history":"ShADadfrF""#, #""orig_bytes":123"#, #""resp_bytes":0"#, #""orig_pkts":6"#,
      #""resp_pkts":5"#, #""closer":"responder""#, #""manner":"fin""#, #""phase":"idle""#,
      #""exchanges":2"#, #""idle_before_close":5.000000"#, #""request_delivery":"rejected""#,
      #""rtt":0.000123456"#, #""request_after_fin":true"#, #""request":"POST /\"a\"""#,
      #""forgery_marks":["one","two"]"#, #""id":7"#,
    ]
    let line = fields.joined(separator: ",")
    #expect(json(connection) == "{" + line + "}\n")
  }

  @Test func `what is not known is null`() {
    var unknown = connection
    unknown.duration = nil
    unknown.originatorBytes = nil
    unknown.manner = nil
    unknown.exchanges = nil
    unknown.request = nil
    unknown.rtt = nil
    let text = json(unknown)
    for name in ["duration", "orig_bytes", "manner", "exchanges", "request", "rtt"] {
      #expect(text.contains("\"\(name)\":null"))
    }
  }

  @Test func `before the epoch, and the smallest numbers`() {
    var early = connection
    early.firstPacket = Timestamp(nanoseconds: -1)
    early.rtt = .zero
    #expect(json(early).hasPrefix(#"{"ts":-0.000000001,"#))
    #expect(json(early).contains(#""rtt":0.000000,"#))
  }

  @Test func `a row for people`() {
    var bytes: [UInt8] = []
    var v4 = connection
    v4.flow.responder.address = IPAddress(v4: 0x0a00_0002)
    v4.forgeryMarks = []
    ConnectionLine.appendText(v4, to: &bytes)
    #expect(
      String(decoding: bytes, as: UTF8.self) == """
        22:13:20.000000  10.0.0.1:40000        10.0.0.2:8080         SF     responder    FIN      5.00 s   ShADadfrF
                         request sent after the responder's FIN; request POST /"a"; rejected unread

        """)
  }
}
