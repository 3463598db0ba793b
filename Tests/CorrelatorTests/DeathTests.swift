import Correlator
import Evidence
import Testing

/// Whose death explains a close, and whose only lies near it.
@Suite struct DeathTests {
  private func verdict(_ tell: (inout Story) -> Void) -> Incident? {
    var story = Story()
    story.nginx()
    story.watchAll()
    tell(&story)
    _ = story.finish()
    return story.given.last
  }

  /// A worker behind A that held an earlier connection, so that it is known to serve the port.
  private func worker(_ pid: Int32, _ story: inout Story) {
    let connection = story.connection(Story.a, at: 60) { $0.phase = .idle }
    story.owner(connection, pid: pid)
  }

  private func exit(_ pid: Int32, signal: Int32? = nil, code: Int32? = nil) -> Observation.Fact {
    .processExit(
      ProcessExit(process: ProcessIdentity(pid: pid, command: "app"), code: code, signal: signal))
  }

  @Test func `a worker that had ended a second before the close did not make it`() throws {
    let incident = try #require(
      verdict { story in
        worker(7, &story)
        worker(8, &story)
        story.observe(exit(7, signal: 9), at: 2500)
        // A new connection, too young for its owner to be known.
        story.closedUnanswered(Story.a, at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `nor one that had ended before the connection began`() throws {
    let incident = try #require(
      verdict { story in
        worker(7, &story)
        worker(8, &story)
        story.observe(exit(7, signal: 9), at: 3900)
        story.closedUnanswered(Story.a, at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `a fault that the kernel told of is over when its process has ended`() throws {
    let incident = try #require(
      verdict { story in
        worker(7, &story)
        worker(8, &story)
        story.observe(
          .kernel(
            KernelEvent(
              kind: .fault(Fault(pid: 7, command: "app", name: "segfault")), text: "segfault")),
          at: 2400)
        story.observe(exit(7, signal: 11), at: 2500)
        story.closedUnanswered(Story.a, at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .closedWithoutResponse)
  }

  @Test func `a process that wrote its core for two seconds explains the close at their end`()
    throws
  {
    let incident = try #require(
      verdict { story in
        worker(7, &story)
        story.observe(
          .kernel(
            KernelEvent(
              kind: .fault(Fault(pid: 7, command: "app", name: "segfault")), text: "segfault")),
          at: 2000)
        story.observe(exit(7, signal: 11), at: 4000)
        story.closedUnanswered(Story.a, at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .crash)
    #expect(incident.verdict.probability > 0.9)
  }

  @Test func `of several workers that ended, the one at the close's own moment is named`() throws {
    let incident = try #require(
      verdict { story in
        for pid in [7, 8, 9] as [Int32] { worker(pid, &story) }
        story.observe(exit(7, code: 3), at: 3970)
        story.observe(exit(8, code: 4), at: 4000)
        story.closedUnanswered(Story.a, at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .exited)
    #expect(incident.evidence.first?.text.hasPrefix("pid 8 (app) exited with code 4") == true)
  }

  @Test func `the fix is that of the death which the evidence names`() throws {
    func fault(_ pid: Int32, _ command: String) -> Observation.Fact {
      .kernel(
        KernelEvent(
          kind: .fault(Fault(pid: pid, command: command, name: "segfault")), text: "segfault"))
    }
    func kill(_ pid: Int32, _ command: String) -> Observation.Fact {
      .kernel(
        KernelEvent(
          kind: .oomKill(OOMKill(pid: pid, command: command, isMemoryCgroup: true)), text: "Killed")
      )
    }
    let crash = try #require(
      verdict { story in
        story.observe(fault(500, "cron-job"), at: 3500)
        let connection = story.closedUnanswered(Story.a, at: 4000)
        story.owner(connection, pid: 7)
        story.observe(fault(7, "app"), at: 3999)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(crash.verdict.cause == .crash)
    #expect(crash.evidence.first?.text.contains("pid 7 (app)") == true)
    #expect(crash.fix?.text.hasPrefix("app crashes") == true)
    let outOfMemory = try #require(
      verdict { story in
        story.observe(kill(500, "cron-job"), at: 3500)
        let connection = story.closedUnanswered(Story.a, at: 4000)
        story.owner(connection, pid: 7)
        story.observe(kill(7, "app"), at: 3999)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(outOfMemory.verdict.cause == .oomKill)
    #expect(outOfMemory.fix?.text.hasPrefix("app outgrew") == true)
  }

  @Test func `an end that nobody can explain is told all the same`() throws {
    let incident = try #require(
      verdict { story in
        let connection = story.closedUnanswered(Story.a, at: 4000)
        story.owner(connection, pid: 7)
        story.observe(exit(7), at: 4000)
        story.error(.prematurelyClosed, .tcp(Story.a), at: 4000)
      })
    #expect(incident.verdict.cause == .unknown)
    #expect(incident.evidence.contains { $0.text.hasPrefix("pid 7 (app), which owned") })
  }
}
