import Correlator
import Evidence

@testable import Report

/// A session made of observations: what the reports of the tests are about.
struct ReportSession {
  static let start = Timestamp(seconds: 1_700_000_000)
  static let backend = Endpoint(address: IPAddress(v4: 0x0a00_000b), port: 8080)
  static let nginx = IPAddress(v4: 0x0a00_0001)

  var correlator = Correlator()
  var facts = SessionFacts()
  private var next: UInt64 = 1

  init(keepalive: TimeSpan = .seconds(60)) {
    let server = UpstreamServer(name: "\(Self.backend)", peers: [.tcp(Self.backend)])
    let group = UpstreamGroup(
      name: "pair", servers: [server], keepalive: 8, keepaliveTimeout: keepalive,
      location: "/etc/nginx/nginx.conf:31")
    observe(
      .nginx(
        NginxInstance(
          master: 1, workers: [7], version: "1.22.1", configurationPath: "/etc/nginx/nginx.conf",
          upstreams: [group])), at: .zero)
    observe(.counters(Counters(source: "packets", seen: 100, lost: 0)), at: .zero)
    observe(.counters(Counters(source: "kernel", seen: 3, lost: 0)), at: .zero)
  }

  mutating func observe(_ fact: Observation.Fact, at offset: TimeSpan) {
    let observation = Observation(
      host: "host", time: TimeEstimate(exactly: Self.start + offset), fact: fact)
    correlator.observe(observation)
    facts.observe(observation)
  }

  /// A connection that the backend closed when it had idled for that long.
  mutating func idleClose(
    after idle: TimeSpan, at offset: TimeSpan, raced: Bool = false, request: String? = nil
  ) -> Connection {
    let closed = Self.start + offset
    let connection = Connection(
      id: next,
      flow: Flow(
        originator: Endpoint(address: Self.nginx, port: 40000 + UInt16(next % 20000)),
        responder: Self.backend),
      connState: raced ? .rstr : .sf, history: raced ? "ShADadfDr" : "ShADadfF",
      firstPacket: closed - idle - .seconds(1),
      lastPacket: closed + (raced ? .milliseconds(5) : .zero),
      closedAt: closed, originatorBytes: 100, responderBytes: 200, closer: .responder,
      manner: .fin, phase: .idle, requestDelivery: raced ? .rejected : .acknowledged,
      idleBeforeClose: idle, exchanges: 2,
      requestSentAt: raced ? closed + .milliseconds(4) : closed - idle, requestBytes: 100,
      responseBytes: raced ? 0 : 200, request: request, requestAfterFIN: raced,
      responderReset: raced
        ? Reset(time: closed + .milliseconds(5), manner: .passiveReset) : nil,
      responderFIN: closed)
    next += 1
    observe(.connection(connection), at: offset)
    return connection
  }

  /// A stale race: the close, and the error behind it.
  mutating func race(at offset: TimeSpan, request: String = "GET /x HTTP/1.1") {
    _ = idleClose(after: .seconds(5), at: offset, raced: true, request: String(request.dropLast(9)))
    observe(
      .nginxLine(
        NginxLine(
          message: .prematurelyClosed,
          text: "upstream prematurely closed connection", level: "error",
          stamped: Self.start + offset, worker: 7, connection: next,
          action:
            "reading response header from upstream", request: request, scheme: "http",
          upstream: .tcp(Self.backend), upstreamURI: "/x")),
      at: offset + .milliseconds(6))
  }

  /// - Returns: what a report is made of.
  mutating func finished() -> (Summary, SessionFacts) {
    for incident in correlator.finish() { facts.observe(incident) }
    facts.finish()
    return (correlator.summary(), facts)
  }

  /// A session in which nothing happened.
  func quiet() -> (Summary, SessionFacts) {
    var copy = self
    return copy.finished()
  }

  mutating func advance(to offset: TimeSpan) {
    for incident in correlator.advance(to: Self.start + offset) { facts.observe(incident) }
  }
}
