import Correlator
import Evidence
import Testing

/// Errors whose connection ended quietly, or not at all; found in the lab.
@Suite struct OrderlyEndTests {
  /// nginx closes at once, as it does everywhere without keepalive.
  private func closedByNginx(_ story: inout Story, at time: Double, request: String) -> Connection {
    story.connection(Story.a, at: time) {
      $0.closer = .originator
      $0.phase = .idle
      $0.idleBeforeClose = .microseconds(300)
      $0.request = request
      $0.requestDelivery = .unknown
    }
  }

  @Test func `an answer that nginx refuses has the orderly end of its connection as its close`()
    throws
  {
    var story = Story()
    story.nginx()
    story.watchAll()
    _ = closedByNginx(&story, at: 1000, request: "POST /fine")
    let refused = closedByNginx(&story, at: 1000.3, request: "POST /x")
    story.error(
      .invalidResponse, .tcp(Story.a), at: 1000.2, text: "upstream sent invalid header: \"B\"")
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.close?.connection == refused.id)
    #expect(incident.verdict.cause == .invalidResponse)
  }

  @Test func `an orderly end explains no error of another kind, and none twice`() {
    var story = Story()
    story.nginx()
    story.watchAll()
    _ = closedByNginx(&story, at: 1000, request: "POST /x")
    story.error(.prematurelyClosed, .tcp(Story.a), at: 1000.2)
    story.error(.invalidResponse, .tcp(Story.a), at: 1000.2)
    story.error(.invalidResponse, .tcp(Story.a), at: 1000.3)
    let summary = story.finish()
    #expect(summary.incidents.filter { $0.close != nil }.count == 1)
    #expect(summary.books.unexplainedCloses == 0)
  }

  @Test func `no valid header at all is an error too`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.error(.noValidHeader, .tcp(Story.a), at: 1000)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.verdict.cause == .invalidResponse)
  }

  @Test func `a request that nobody acknowledged is the close of nginx's time-out`() throws {
    var story = Story()
    story.nginx()
    story.watchAll()
    let lost = story.connection(Story.a, at: 1000) {
      $0.connState = .s1
      $0.history = "ShADadT"
      $0.closedAt = nil
      $0.closer = .unknown
      $0.manner = .timeout
      $0.phase = .sendingRequest
      $0.requestDelivery = .unknown
      $0.exchanges = 2
      $0.request = "POST /x"
    }
    story.error(.headerTimedOut, .tcp(Story.a), at: 1000.2, errno: 110)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.close?.connection == lost.id)
    #expect(incident.verdict.cause == .middlebox)
  }

  @Test func `a SYN that an ICMP message answered is the close of errno 113, though it comes later`()
    throws
  {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.error(.connectFailed, .tcp(Story.a), at: 1000, errno: 113)
    story.advance(to: 2200)
    let syn = story.connection(Story.a, at: 1000.5) {
      $0.connState = .s0
      $0.history = "S"
      $0.closedAt = nil
      $0.closer = .unknown
      $0.manner = .timeout
      $0.phase = .connecting
      $0.requestDelivery = .neverSent
      $0.exchanges = 0
    }
    story.advance(to: 4000)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.close?.connection == syn.id)
    #expect(incident.verdict.cause == .unreachable)
  }

  @Test func `a reset that something in between sent on a reused connection is no stale race`()
    throws
  {
    var story = Story()
    story.nginx()
    story.watchAll()
    story.connection(Story.a, at: 1000) {
      $0.connState = .rstr
      $0.history = "ShADadr"
      $0.closer = .middlebox
      $0.manner = .passiveReset
      $0.exchanges = 3
      $0.request = "POST /x"
      $0.forgeryMarks = ["time to live differs from the responder's SYN-ACK"]
      $0.responderReset = Reset(time: $0.closedAt ?? $0.lastPacket, manner: .passiveReset)
    }
    story.error(.recvFailed, .tcp(Story.a), at: 1000, errno: 104)
    let incident = try #require(story.finish().incidents.first)
    #expect(incident.verdict.cause == .middlebox)
  }
}
