import CLinux
import Correlator
import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

/// The rows of the table of failures, made to happen to the nginx that is installed here: the line that
/// it writes, the tries in its access log, and what followed.
@Suite(.enabled(if: RealNginx.isInstalled), .serialized) struct FailureRowsTests {
  /// A row: a location, what its backend does, and what must come of a GET (or `method`).
  struct Row: Sendable {
    var number: String
    var method = "GET"
    /// Behind `location = /NUMBER {`; `PORT` is the backend's.
    var location = "proxy_pass http://127.0.0.1:PORT;"
    var serve: @Sendable (Int32) -> Void = { _ in }
    var expected: [Outcome]
  }

  private static let single = Outcome.single
  private static let late = Outcome.late
  private static let slow =
    "proxy_pass http://127.0.0.1:PORT; proxy_read_timeout 150ms; proxy_connect_timeout 150ms;"

  private static let rows: [Row] = [
    Row(
      number: "1", location: "proxy_pass http://127.0.0.1:DEAD;",
      expected: [Outcome(.connectFailed, errno: 111, 502, [502], single)]),
    Row(
      number: "12", expected: [Outcome(.prematurelyClosed, 502, [502], single)]),
    Row(
      number: "12-POST", method: "POST",
      expected: [
        Outcome(
          .prematurelyClosed, 502, [502],
          "POST is not sent twice (proxy_next_upstream without non_idempotent)")
      ]),
    Row(
      number: "13", serve: resetOnClose,
      expected: [Outcome(.recvFailed, errno: 104, 502, [502], single)]),
    Row(
      number: "14", serve: { say($0, "HTTP/1.1 200 OK\r\nContent-") },
      expected: [Outcome(.prematurelyClosed, 502, [502], single)]),
    Row(
      number: "15", serve: { say($0, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf") },
      expected: [Outcome(.bodyClosed, 200, [200], late)]),
    Row(
      number: "16",
      location: "proxy_http_version 1.1; proxy_pass http://127.0.0.1:PORT;",
      serve: { say($0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal") },
      expected: [Outcome(.bodyClosed, 200, [200], late)]),
    Row(
      number: "17",
      serve: {
        say($0, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf")
        usleep(50_000)
        resetOnClose($0)
      },
      expected: [Outcome(.bodyRecvFailed, errno: 104, 200, [200], late)]),
    Row(
      number: "18", serve: { say($0, "HTTP/1.0 200 OK\r\n\r\nhalf") }, expected: []),
    Row(
      number: "19",
      serve: {
        say($0, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfull")
        usleep(50_000)
        resetOnClose($0)
      }, expected: []),
    Row(
      number: "26", location: slow, serve: { _ in usleep(400_000) },
      expected: [Outcome(.headerTimedOut, errno: 110, 504, [504], single)]),
    Row(
      number: "27", location: slow,
      serve: {
        say($0, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf")
        usleep(400_000)
      },
      expected: [Outcome(.bodyTimedOut, errno: 110, 200, [200], late)]),
    Row(
      number: "29-FIN", location: "proxy_pass https://127.0.0.1:PORT;",
      expected: [Outcome(.tlsClosed, 502, [502], single)]),
    Row(
      number: "29-RST", location: "proxy_pass https://127.0.0.1:PORT;", serve: resetOnClose,
      expected: [Outcome(.tlsClosed, errno: 104, 502, [502], single)]),
    Row(
      number: "plain", location: "proxy_pass https://127.0.0.1:PORT;",
      serve: { say($0, "HTTP/1.1 400 Bad Request\r\n\r\n") },
      expected: [Outcome(.tlsHandshakeFailed, 502, [502], single)]),
    Row(
      number: "big",
      serve: {
        say($0, "HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 9000) + "\r\n\r\n")
      },
      expected: [
        Outcome(
          .headerTooBig, 502, [502], "proxy_next_upstream does not list invalid_header")
      ]),
    Row(
      number: "invalid", serve: { say($0, "HTTP/1.1 200 OK\r\nBad\u{1}: x\r\n\r\n") },
      expected: [
        Outcome(
          .invalidResponse, 502, [502], "proxy_next_upstream does not list invalid_header")
      ]),
    Row(
      number: "chunk", location: "proxy_http_version 1.1; proxy_pass http://127.0.0.1:PORT;",
      serve: { say($0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") },
      expected: [Outcome(.invalidChunked, 200, [200], late)]),
    Row(
      number: "unix-none", location: "proxy_pass http://unix:/run/upclose-none.sock;",
      expected: [Outcome(.connectRefusedAtOnce, errno: 2, 502, [502], single)]),
    Row(
      number: "5xx", serve: { say($0, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n") },
      expected: []),
    // Two peers, the first of which refuses: tried again on the other, and then left out.
    Row(
      number: "retry", location: "proxy_pass http://retry;",
      serve: { say($0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") },
      expected: [Outcome(.connectFailed, errno: 111, 200, [502, 200], retried: true)]),
    Row(
      number: "off", location: "proxy_pass http://off; proxy_next_upstream off;",
      serve: { say($0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") },
      expected: [
        Outcome(.connectFailed, errno: 111, 502, [502], "proxy_next_upstream does not list error")
      ]),
    // Both refuse: each is tried, and nobody is left for the next request.
    Row(
      number: "dead", location: "proxy_pass http://dead;",
      expected: [
        Outcome(.connectFailed, errno: 111, 502, [502, 502], retried: true),
        Outcome(.connectFailed, errno: 111, 502, [502, 502], "every peer had been tried"),
      ]),
    Row(
      number: "no-live", location: "proxy_pass http://dead;",
      expected: [Outcome(.noLiveUpstreams, 502, [502], "no peer was left to try")]),
  ]

  @Test func `each row: the line, the tries, and what followed`() throws {
    var dead = try freePort()
    var deadPorts: [String: UInt16] = [:]
    var backends: [Backend] = []
    var locations = ""
    var upstreams = ""
    for row in Self.rows {
      let backend = try Backend(row.serve)
      backends.append(backend)
      // Each group has its own, since what they do not agree on is not said.
      dead = try freePort()
      deadPorts[row.number] = dead
      locations += "location = /\(row.number) { \(row.location) }\n"
        .replacing("PORT", with: "\(backend.port)").replacing("DEAD", with: "\(dead)")
      if ["retry", "off"].contains(row.number) {
        upstreams +=
          "upstream \(row.number) { server 127.0.0.1:\(dead); server 127.0.0.1:\(backend.port); }\n"
      }
    }
    upstreams += "upstream dead { server 127.0.0.1:\(dead); server 127.0.0.2:\(dead); }\n"
    let nginx = try RealNginx(
      http: "\(upstreams) server { listen LISTEN; \(locations) }"
        .replacing("LISTEN", with: "PORT"))
    for row in Self.rows { nginx.get("/\(row.number)", method: row.method) }
    let log = nginx.directory["access.log"]
    eventually("every request in the access log") {
      (try? readFile(log).count { $0 == 10 }) ?? 0 >= Self.rows.count
    }
    let incidents = try incidents(of: nginx)
    for row in Self.rows {
      let outcomes = incidents.filter {
        $0.request?.hasPrefix("\(row.method) /\(row.number) ") ?? false
      }
      .map(Outcome.init)
      #expect(outcomes == row.expected, "row \(row.number)")
    }
    // The peers that failed, and until when they are left out.
    let disabled = incidents.compactMap { $0.aftermath?.disabled }
    #expect(
      Set(disabled.map(\.peer))
        == [
          "127.0.0.1:\(deadPorts["retry"] ?? 0)", "127.0.0.1:\(deadPorts["off"] ?? 0)",
          "127.0.0.1:\(dead)", "127.0.0.2:\(dead)",
        ])
    #expect(disabled.allSatisfy { $0.worker == incidents.first?.worker })
    let last = try #require(incidents.last { $0.kind == .noLiveUpstreams })
    #expect(last.roots.count == 2)
  }

  private func incidents(of nginx: RealNginx) throws -> [Incident] {
    let found = try #require(NginxDiscovery().find().first { $0.master == nginx.pid }).load()
    var observations: [Observation] = []
    let errors = try ErrorLogFile(nginx.errorLog, options: LogOptions())
    var connections: Set<UInt64> = []
    while let observation = try errors.next() {
      observations.append(observation)
      if case .nginxLine(let line) = observation.fact, line.message.isUpstreamFailure,
        let connection = line.connection
      {
        connections.insert(connection)
      }
    }
    let requests = try AccessLogFile(
      nginx.directory["access.log"], formats: [.recommended], options: LogOptions(),
      watchedConnections: connections)
    while let observation = try requests.next() { observations.append(observation) }
    var correlator = Correlator()
    correlator.observe(
      Observation(
        host: "a", time: TimeEstimate(exactly: currentTime()), fact: .nginx(found.instance)))
    for observation in observations { correlator.observe(observation) }
    _ = correlator.finish()
    return correlator.summary().incidents
  }
}
