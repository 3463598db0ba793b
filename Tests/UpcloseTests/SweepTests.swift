import Evidence
import Foundation
import Glibc
import Testing

/// `upclose sweep` with real targets of every outcome, as root, in namespaces of the test's own.
@Suite(.enabled(if: getuid() == 0), .serialized) struct SweepLiveTests {
  private let backend = SweepWorld.backend

  struct Check: Decodable, Hashable {
    var ts: String
    var target: String
    var outcome: String
    var connect_time: Double?
    var reason: String?
    var tls: TLS?
    var http: HTTP?
    var keepalive: Keepalive?

    struct TLS: Decodable, Hashable {
      var speaks_tls: Bool?
      var version: String?
    }
    struct HTTP: Decodable, Hashable {
      var status: Int?
      var time_to_first_byte: Double?
    }
    struct Keepalive: Decodable, Hashable {
      var requests: Int?
      var idle_timeout: Double?
    }
  }

  private func checks(_ outcome: Program.Outcome) throws -> [Check] {
    try outcome.out.split(separator: "\n").map {
      try JSONDecoder().decode(Check.self, from: Data($0.utf8))
    }
  }

  @Test func `every outcome is told with its reason`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    _ = try world.listen(8001)
    try world.listenWithFullQueue(8003)
    try world.serve(8004) { accepted in
      var linger = linger(l_onoff: 1, l_linger: 0)
      setsockopt(accepted, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
      close(accepted)
    }
    try world.serve(8006) { close($0) }
    let expected: [String: (String, String?)] = [
      "\(backend):8001": ("open", nil),
      "\(backend):8002": ("refused", "connection refused"),
      "\(backend):8003": ("timeout", "no answer to "),
      "\(backend):8004": ("reset", "reset at once"),
      "\(backend):8006": ("closed", "closed at once"),
      "10.112.1.1:80": ("unreachable", "host unreachable (ICMP 3/1 from \(backend))"),
      "10.112.2.1:80": (
        "unreachable", "administratively prohibited (ICMP 3/13 from \(backend))"
      ),
      "10.112.3.1:80": ("timeout", "no answer to "),
      "10.112.4.1:80": ("unreachable", "network unreachable (ICMP 3/0 from \(backend))"),
      "10.111.0.99:80": (
        "unreachable", "host unreachable: no answer to ARP (ICMP 3/1 from this host)"
      ),
      "10.113.0.1:80": (
        "unreachable", "a route of this host prohibits it (Permission denied)"
      ),
      "10.114.0.1:80": (
        "unreachable", "this host has no route to it (Network is unreachable)"
      ),
      "[fd11::2]:8002": ("refused", "connection refused"),
      "[fd12:2::1]:80": (
        "unreachable", "administratively prohibited (ICMPv6 1/1 from fd11::2)"
      ),
    ]
    // An absent neighbour is given up after three seconds.
    let outcome = try world.sweep(
      Array(expected.keys) + ["--timeout", "6s", "--format", "ndjson"])
    #expect(outcome.status == 1)
    let found = try checks(outcome)
    #expect(Set(found.map(\.target)) == Set(expected.keys))
    for check in found {
      let (outcome, reason) = try #require(expected[check.target])
      #expect(check.outcome == outcome, "\(check)")
      #expect(check.reason?.hasPrefix(reason ?? "") ?? (reason == nil), "\(check)")
      #expect((check.connect_time != nil) == ["open", "reset", "closed"].contains(outcome), "\(check)")
      if let time = check.connect_time { #expect(time > 0 && time < 6) }
      #expect(Timestamp(iso8601: check.ts) != nil)
    }
  }

  @Test func `an ndjson line has exactly the five fields`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    let outcome = try world.sweep("\(backend):8002", "--format", "ndjson")
    let object = try JSONSerialization.jsonObject(with: Data(outcome.out.utf8))
    let keys = try #require(object as? [String: Any]).keys
    #expect(Set(keys) == ["ts", "target", "outcome", "connect_time", "reason"])
  }

  @Test func `TLS, HTTP and keepalive of a real nginx`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    try world.startNginx(idle: 5, requests: 100)
    let tls = try checks(
      try world.sweep("\(backend):8443", "\(backend):8001", "--tls", "--format", "ndjson"))
    #expect(
      Dictionary(uniqueKeysWithValues: tls.map { ($0.target, $0.tls) }) == [
        "\(backend):8443": Check.TLS(speaks_tls: true, version: "TLS 1.3"),
        "\(backend):8001": Check.TLS(speaks_tls: false, version: nil),
      ])
    #expect(tls.allSatisfy { $0.outcome == "open" })

    let good = try world.sweep("\(backend):8005", "--http", "/", "--format", "ndjson")
    #expect(good.status == 0)
    let http = try #require(try checks(good).first?.http)
    #expect(http.status == 200)
    #expect((http.time_to_first_byte ?? 0) > 0)
    let broken = try world.sweep("\(backend):8005", "--http", "/broken", "--format", "ndjson")
    #expect(broken.status == 1)
    #expect(try checks(broken).first?.http?.status == 503)

    let kept = try world.sweep("\(backend):8005", "--expect-keepalive", "--format", "ndjson")
    #expect(kept.status == 0)
    let keepalive = try #require(try checks(kept).last?.keepalive)
    #expect(keepalive.requests == 100)
    let idle = try #require(keepalive.idle_timeout)
    #expect(abs(idle - 5) < 0.25)
  }

  @Test func `a backend that closes after 5 s without HTTP is measured, too`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    try world.serve(8007) { accepted in
      var limit = timeval(tv_sec: 5, tv_usec: 0)
      setsockopt(
        accepted, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      var buffer = [UInt8](repeating: 0, count: 4096)
      while recv(accepted, &buffer, buffer.count, 0) > 0 {}
      close(accepted)
    }
    let outcome = try world.sweep(
      "\(backend):8007", "--expect-keepalive", "--format", "ndjson", "--timeout", "1s")
    let keepalive = try #require(try checks(outcome).last?.keepalive)
    #expect(keepalive.requests == nil)
    #expect(abs((keepalive.idle_timeout ?? 0) - 5) < 0.25)
  }

  @Test func `an outage is told with its start and end`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    let listener = try world.listen(8001)
    let ending = Thread {
      usleep(1_000_000)
      // Shutting it down ends the listening; the number stays ours.
      shutdown(listener, Int32(SHUT_RD))
      usleep(1_500_000)
      _ = Glibc.listen(listener, 64)
    }
    ending.start()
    let outcome = try world.sweep(
      "\(backend):8001", "--every", "100ms", "--count", "50", "--settle", "0")
    #expect(outcome.status == 1)
    let lines = outcome.out.split(separator: "\n").map(String.init)
    let changes = lines.filter { $0.contains("  DOWN  ") || $0.contains("  UP    ") }
    #expect(changes.count == 3, "\(outcome.out)")
    #expect(changes.first?.hasSuffix("DOWN  \(backend):8001  connection refused") == true)
    #expect(changes.dropFirst().first?.contains("UP    \(backend):8001  after ") == true)
    #expect(lines.contains { $0.contains("down from ") && $0.contains("connection refused") })
    #expect(lines.contains { $0.contains("1 flaps, 1 outages") })
  }

  @Test func `the source address is that of --bind`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    _ = try world.listen(8001)
    #expect(try world.sweep("\(backend):8001", "--bind", "10.111.0.1").status == 0)
    let foreign = try world.sweep("\(backend):8001", "--bind", "10.9.9.9")
    #expect(foreign.status == 2)
    #expect(foreign.err.contains("--bind"))
  }
}
