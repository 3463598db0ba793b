import Evidence
import Testing

@testable import Correlator

@Suite struct BackendLogTests {
  private let upstream = UpstreamPeer("10.0.0.2:80")
  private let moment = TimeEstimate(exactly: Timestamp(seconds: 1000))

  private func line(
    pid: Int32? = nil, peer: String? = nil, upstream: String? = nil, owner: ProcessIdentity? = nil
  ) -> BackendLine {
    BackendLine(
      program: .gunicorn, kind: .workerTimeout, pid: pid, peer: peer.flatMap { Endpoint($0) },
      upstream: upstream.flatMap { UpstreamPeer($0) }, owner: owner, text: "x")
  }

  private func bearings(_ lines: [(BackendLine, Int64)]) -> [BackendLog.Bearing] {
    var log = BackendLog()
    for (line, milliseconds) in lines {
      log.observe(
        line, at: TimeEstimate(exactly: Timestamp(seconds: 1000) + .milliseconds(milliseconds)))
    }
    return log.lines(
      near: moment,
      of: BackendLog.Subject(
        upstream: upstream, client: Endpoint("10.0.0.1:4000"), pids: [7, 8], units: ["app.service"])
    ).map(\.bearing)
  }

  @Test func `what names the connection comes first, then the process, then the log`() {
    #expect(
      bearings([
        (line(), 0), (line(upstream: "10.0.0.2:80"), 0), (line(pid: 7), 900),
        (line(peer: "10.0.0.1:4000"), 2000),
      ]) == [.connection, .process, .upstream, .unknown])
  }

  @Test func `a line of another backend's log is left out`() {
    #expect(bearings([(line(upstream: "10.0.0.3:80"), 0)]).isEmpty)
    let stranger = ProcessIdentity(pid: 99, command: "x", parent: 98)
    #expect(bearings([(line(owner: stranger), 0)]).isEmpty)
    let worker = ProcessIdentity(pid: 99, command: "x", parent: 7)
    #expect(bearings([(line(owner: worker), 0)]) == [.process])
  }

  @Test func `a unit's line is about its processes`() {
    var named = line()
    named.unit = "app.service"
    #expect(bearings([(named, 0)]) == [.process])
    named.unit = "other.service"
    #expect(bearings([(named, 0)]).isEmpty)
  }

  @Test func `a line of another time is left out`() {
    #expect(bearings([(line(pid: 7), 6000), (line(pid: 7), -6000)]).isEmpty)
  }
}
