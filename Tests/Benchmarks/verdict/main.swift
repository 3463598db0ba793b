import Correlator
import Evidence
import Glibc

/// The correlator under a million closes and ten thousand errors: generated observations, straight into
/// it, with a watermark each 50 ms as a live session gives them. Prints seconds, memory and whether the
/// verdicts are right.
struct Session {
  let closes: Int
  let errors: Int
  /// Of the session's own time.
  let seconds: Int
  var random: UInt64 = 0x5eed
  let start = Timestamp(seconds: 1_790_000_000)
  let backends = (2...3).map { Endpoint(address: IPAddress(v4: 0x0a00_0000 | $0), port: 8080) }
  let workers: [Int32] = [101, 102, 103, 104]

  mutating func next() -> UInt64 {
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return random >> 33
  }

  func flow(_ number: Int, _ backend: Endpoint) -> Flow {
    // Tuples come again, as they do: 28,000 local ports towards each backend.
    Flow(
      originator: Endpoint(
        address: IPAddress(v4: 0x0a00_0001), port: UInt16(32768 + number % 28000)),
      responder: backend)
  }

  /// A close, healthy or not, as the packet probe tells it.
  func connection(_ number: Int, at time: Timestamp, kind: Int, _ backend: Endpoint) -> Connection {
    var connection = Connection(
      id: UInt64(number + 1), flow: flow(number, backend), connState: .sf, history: "ShADadFf",
      firstPacket: time - .seconds(3), lastPacket: time, closedAt: time, originatorBytes: 400,
      responderBytes: 900, originatorPackets: 6, responderPackets: 5, closer: .responder,
      manner: .fin, phase: .idle, requestDelivery: .acknowledged,
      idleBeforeClose: .milliseconds(2000 + Int64(number % 9)), exchanges: 4)
    switch kind {
    case 1:
      // Closed with the request unanswered.
      connection.phase = .awaitingResponse
      connection.requestSentAt = time - .milliseconds(2)
      connection.responderFIN = time
      connection.request = "POST /r/\(number)"
    case 2:
      // The race for an idle connection.
      connection.requestAfterFIN = true
      connection.requestDelivery = .rejected
      connection.closedAt = time - .milliseconds(5)
      connection.responderFIN = time - .milliseconds(5)
      connection.requestSentAt = time - .microseconds(300)
      connection.responderReset = Reset(time: time, manner: .passiveReset)
      connection.exchanges = 5
      connection.request = "POST /r/\(number)"
    default: break
    }
    return connection
  }

  func line(_ number: Int, at time: Timestamp, _ backend: Endpoint, named: Bool) -> NginxLine {
    NginxLine(
      message: .prematurelyClosed, text: "upstream prematurely closed connection", level: "error",
      stamped: time, worker: workers[number % workers.count], connection: UInt64(number),
      action: "reading response header from upstream", request: "POST /r/\(number) HTTP/1.1",
      scheme: "http", upstream: .tcp(backend), upstreamURI: named ? "/r/\(number)" : nil,
      path: "error.log")
  }
}

func run(closes: Int, errors: Int, seconds: Int, named: Bool) {
  var session = Session(closes: closes, errors: errors, seconds: seconds)
  var correlator = Correlator()
  var given = 0
  var rightCause = 0
  var rightClose = 0
  var wrongClose = 0
  // The truth, by incident: which connection, and whether it was a race.
  var truth: [UInt64: (connection: UInt64, isRace: Bool)] = [:]
  func take(_ incidents: [Incident]) {
    for incident in incidents where incident.revision == 1 {
      given += 1
      guard let known = incident.nginxConnection.flatMap({ truth.removeValue(forKey: $0) }) else {
        continue
      }
      if let close = incident.close {
        if close.connection == known.connection { rightClose += 1 } else { wrongClose += 1 }
      }
      let expected: CauseID = known.isRace ? .staleKeepalive : .closedWithoutResponse
      if incident.verdict.cause == expected { rightCause += 1 }
    }
  }
  func observe(_ time: TimeEstimate, _ fact: Observation.Fact) {
    correlator.observe(Observation(host: "bench", time: time, fact: fact))
  }
  observe(
    TimeEstimate(exactly: session.start),
    .nginx(
      NginxInstance(
        master: 100, workers: session.workers, version: "1.22.1",
        upstreams: [
          UpstreamGroup(
            name: "pair",
            servers: session.backends.map { UpstreamServer(name: "\($0)", peers: [.tcp($0)]) },
            keepalive: 32, keepaliveTimeout: .seconds(60), keepaliveRequests: 1000)
        ])))
  let step = Int64(seconds) * 1_000_000_000 / Int64(closes)
  let every = max(1, closes / max(1, errors))
  var watermark = session.start
  let began = clock()
  for number in 0..<closes {
    let time = session.start + TimeSpan(nanoseconds: Int64(number) * step)
    let backend = session.backends[Int(session.next() % 2)]
    let isError = errors > 0 && number % every == every - 1
    let kind = isError ? 1 + Int(session.next() % 2) : 0
    let connection = session.connection(number, at: time, kind: kind, backend)
    observe(TimeEstimate(exactly: time), .connection(connection))
    if isError {
      let written = time + .microseconds(200 + Int64(session.next() % 900))
      truth[UInt64(number)] = (connection.id, kind == 2)
      observe(
        TimeEstimate(best: written, earliest: written - .milliseconds(20), latest: written),
        .nginxLine(session.line(number, at: written, backend, named: named)))
    }
    if time - watermark >= .milliseconds(50) {
      watermark = time
      take(correlator.advance(to: time - .milliseconds(100)))
    }
  }
  take(correlator.finish())
  let spent = Double(clock() - began) / Double(CLOCKS_PER_SEC)
  let before = clock()
  let summary = correlator.summary()
  let summing = Double(clock() - before) / Double(CLOCKS_PER_SEC)
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  print(
    "\(closes) closes, \(errors) errors in \(seconds) s of the session"
      + (named ? "" : ", no request lines") + ": \(hundredths(spent)) s, summary "
      + "\(hundredths(summing)) s, peak \(usage.ru_maxrss / 1024) MiB; incidents \(given), right close "
      + "\(rightClose), wrong \(wrongClose), right cause \(rightCause); findings "
      + summary.findings.map { "\($0.cause.rawValue) \($0.errors)" }.joined(separator: ", "))
}

func hundredths(_ value: Double) -> String {
  let scaled = Int((value * 100).rounded())
  let rest = scaled % 100
  return "\(scaled / 100).\(rest < 10 ? "0" : "")\(rest)"
}

let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
if arguments.count >= 3 {
  run(
    closes: arguments[0], errors: arguments[1], seconds: arguments[2],
    named: CommandLine.arguments.last != "unnamed")
} else {
  print("usage: verdict-benchmark CLOSES ERRORS SECONDS [unnamed]")
}
