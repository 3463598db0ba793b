import Correlator
import Evidence
import Testing

@testable import Report

@Suite struct MarkdownReportTests {
  @Test func `a ticket has one screen, whatever the session`() {
    var session = ReportSession()
    for index in 0..<300 {
      let time = TimeSpan.milliseconds(Int64(10_000 + index * 100))
      session.race(at: time)
      session.observe(
        .port(
          PortCheck(
            target: Endpoint(address: IPAddress(v4: 0x0a00_0100 + UInt32(index)), port: 80),
            outcome: .refused)), at: time)
      session.observe(
        .blindSpot(BlindSpot(id: "spot", what: "spot \(index)", cost: "something")), at: time)
    }
    let (summary, _) = session.finished()
    let text = MarkdownReport().render(summary)
    #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count < 50)
    #expect(text.utf8.count < 6000)
    #expect(text.hasPrefix("## 300 upstream errors: stale keepalive race, 10.0.0.11:8080\n"))
    #expect(text.contains("**Fix:** "))
    #expect(text.contains(" more upstreams"))
    #expect(text.contains("more."))
  }

  @Test func `what comes from outside is neither markup nor a cell's end`() {
    #expect(
      MarkdownReport.escaped("<b> | `x` [a](b) *c* @d\n\\")
        == "&lt;b&gt; \\| \\`x\\` \\[a\\](b) \\*c\\* \\@d \\\\")
    #expect(MarkdownReport.code("a`b``c") == "```a`b``c```")
    #expect(MarkdownReport.code("`") == "`` ` ``")
    #expect(MarkdownReport.code("a|b") == "`a\\|b`")
  }
}
