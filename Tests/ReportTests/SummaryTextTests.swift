import Correlator
import Evidence
import Report
import Testing

@Suite struct SummaryTextTests {
  @Test func `columns of long addresses do not run into each other`() throws {
    let names = ["[2001:db8:1234:5678:9abc::11]:8080", "[2001:db8:1234:5678:9abc::12]:8080"]
    var correlator = Correlator()
    for name in names {
      let target = try #require(Endpoint(name))
      correlator.observe(
        Observation(
          host: "test", time: TimeEstimate(exactly: Timestamp(seconds: 1)),
          fact: .port(PortCheck(target: target, outcome: .open))))
    }
    _ = correlator.finish()
    for width in [nil, 80, 200] as [Int?] {
      let text = SummaryText(TextStyle(width: width)).render(correlator.summary())
      let words = text.split { $0 == " " || $0 == "\n" }.map(String.init)
      #expect(words.filter { $0.hasPrefix("[2001") } == names)
    }
  }
}
