import Foundation
import Glibc
import Testing

/// What `doctor` says of this host, with and without rights, with and without nginx.
@Suite struct DoctorTests {
  private struct Report: Decodable {
    struct Source: Decodable {
      var source: String
      var state: String
      var detail: String
      var cost: String?
      var remedy: String?
    }
    var complete: Bool
    var sources: [Source]
  }

  private func report(_ command: [String]) throws -> (report: Report, status: Int32) {
    let outcome = try Program.run(
      "/usr/bin/env", command + [Program.upclose, "doctor", "--format", "json"])
    return (try JSONDecoder().decode(Report.self, from: Data(outcome.out.utf8)), outcome.status)
  }

  @Test func `every source is tried, and what is missed is told with its cost`() throws {
    let (report, status) = try report([])
    #expect(status == (report.complete ? 0 : 1))
    let names = Set(report.sources.map(\.source))
    #expect(
      names.isSuperset(of: [
        "packets", "kernel log", "tracepoints", "sockets", "exits", "socket owners", "cgroups",
        "TCP counters", "conntrack", "nginx",
      ]))
    for source in report.sources {
      #expect(["yes", "partly", "no", "absent"].contains(source.state))
      if source.state == "no" || source.state == "partly" {
        #expect(source.cost?.isEmpty == false, "\(source.source)")
        #expect(source.remedy?.isEmpty == false, "\(source.source)")
        #expect(!report.complete)
      } else {
        #expect(source.cost == nil)
      }
    }
  }

  @Test(.enabled(if: getuid() == 0))
  func `without rights, and where no nginx runs, it says so and does not fail`() throws {
    // A process table of its own: nobody else's nginx is in it.
    let (report, status) = try report([
      "unshare", "--pid", "--fork", "--mount-proc", "setpriv", "--reuid=65534", "--clear-groups",
    ])
    #expect(status == 1)
    func state(_ name: String) -> String? { report.sources.first { $0.source == name }?.state }
    #expect(state("nginx") == "no")
    #expect(state("packets") == "no")
    #expect(state("tracepoints") == "no")
  }

  @Test(.enabled(if: getuid() == 0)) func `it leaves no tracing instance behind`() throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Program.upclose)
    process.arguments = ["doctor"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    let pid = process.processIdentifier
    process.waitUntilExit()
    #expect(Program.tracingInstances(of: pid).isEmpty)
  }
}
