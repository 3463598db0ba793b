import Evidence
import Foundation
import Glibc
import LabWorld
import Testing

/// What an attach writes beside its terminal.
@Suite(.enabled(if: getuid() == 0), .serialized) struct AttachReportTests {
  @Test func `metrics reach a directory of root's, and the reports their files`() throws {
    let world = try LabWorld.build(
      backendExecutable: Program.backend, name: "upclose.test.reports")
    defer { world.tearDown() }
    let scratch = try Scratch()
    let metrics = scratch.path + "/upclose.prom"
    let reports = ["html", "md", "json"].map { "\(scratch.path)/report.\($0)" }
    let session = try Session(
      in: world, ["--textfile", metrics] + reports.flatMap { ["--report", $0] })
    try session.waitUntilWatching()
    #expect(session.userID == 65534, "privileges were not dropped")
    let helper = try helper(of: session.pid)
    #expect(helper.suffix(2) == ["textfile-helper", metrics])
    try session.wait("the first metrics are written") {
      (try? String(contentsOfFile: metrics, encoding: .utf8))?.hasSuffix("\n") == true
    }
    _ = try session.inNamespace([
      "curl", "-s", "-o", "/dev/null", "-X", "POST",
      "http://\(world.frontend)/a/fault/close/%3Cscript%3E",
    ])
    try session.waitForIncidents(1)
    let outcome = try session.end()
    #expect(outcome.status == 1)
    let backend = world.backends[0].endpoint.description
    let text = try String(contentsOfFile: metrics, encoding: .utf8)
    #expect(
      text.contains(
        "upclose_incidents_total{upstream=\"\(backend)\",cause=\"closed-without-response\"} 1\n"))
    #expect(text.contains("upclose_upstream_port_open{upstream=\"\(backend)\"} 1\n"))
    let html = try String(contentsOfFile: reports[0], encoding: .utf8)
    #expect(html.contains("<h1>1 upstream error: closed without a response, \(backend)</h1>"))
    #expect(html.contains("class=\"sequence\""))
    let markdown = try String(contentsOfFile: reports[1], encoding: .utf8)
    #expect(markdown.hasPrefix("## 1 upstream error: closed without a response, \(backend)"))
    let json = try JSONSerialization.jsonObject(
      with: Data(contentsOf: URL(fileURLWithPath: reports[2])))
    #expect((json as? [String: Any])?["findings"] != nil)
    #expect(try self.helper(of: session.pid).isEmpty, "the helper ends with the session")
  }

  @Test func `a textfile that cannot be written is said before anything is watched`() throws {
    let outcome = try Program.upclose(
      "attach", "--error-log", "/dev/null", "--upstream", "127.0.0.1:1", "--textfile",
      "/proc/none/upclose.prom")
    #expect(outcome.status == 2)
    #expect(outcome.err.contains("cannot write /proc/none/upclose.prom"))
  }

  /// The words of the command line of a process's child; empty without one.
  private func helper(of pid: Int32) throws -> [String] {
    for entry in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
      guard let child = Int32(entry),
        let status = try? String(contentsOfFile: "/proc/\(child)/status", encoding: .utf8),
        status.contains("\nPPid:\t\(pid)\n"),
        let command = FileManager.default.contents(atPath: "/proc/\(child)/cmdline")
      else { continue }
      return command.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    }
    return []
  }
}
