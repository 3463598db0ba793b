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
    var connectTime: Double?
    var reason: String?
    var tls: TLS?
    var http: HTTP?
    var keepalive: Keepalive?

    struct TLS: Decodable, Hashable {
      var speaksTls: Bool?
      var version: String?
    }
    struct HTTP: Decodable, Hashable {
      var status: Int?
      var timeToFirstByte: Double?
    }
    struct Keepalive: Decodable, Hashable {
      var requests: Int?
      var idleTimeout: Double?
    }
  }

  private func checks(_ outcome: Program.Outcome) throws -> [Check] {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try outcome.out.split(separator: "\n").map {
      try decoder.decode(Check.self, from: Data($0.utf8))
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
      #expect(
        (check.connectTime != nil) == ["open", "reset", "closed"].contains(outcome), "\(check)")
      if let time = check.connectTime { #expect(time > 0 && time < 6) }
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
        "\(backend):8443": Check.TLS(speaksTls: true, version: "TLS 1.3"),
        "\(backend):8001": Check.TLS(speaksTls: false, version: nil),
      ])
    #expect(tls.allSatisfy { $0.outcome == "open" })

    let good = try world.sweep("\(backend):8005", "--http", "/", "--format", "ndjson")
    #expect(good.status == 0)
    let http = try #require(try checks(good).first?.http)
    #expect(http.status == 200)
    #expect((http.timeToFirstByte ?? 0) > 0)
    let broken = try world.sweep("\(backend):8005", "--http", "/broken", "--format", "ndjson")
    #expect(broken.status == 1)
    #expect(try checks(broken).first?.http?.status == 503)

    let started = Date()
    let kept = try world.sweep("\(backend):8005", "--expect-keepalive", "--format", "ndjson")
    #expect(kept.status == 0)
    let keepalive = try #require(try checks(kept).last?.keepalive)
    #expect(keepalive.requests == 100)
    let idle = try #require(keepalive.idleTimeout)
    #expect(idle > 4.9 && idle < Date().timeIntervalSince(started))
  }

  @Test func `a backend that closes after 5 s without HTTP is measured, too`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    try world.serve(8007) { accepted in
      var buffer = [UInt8](repeating: 0, count: 4096)
      // Not SO_RCVTIMEO, whose timer may be a quarter of a second late.
      var polled = pollfd(fd: accepted, events: Int16(POLLIN), revents: 0)
      while poll(&polled, 1, 5000) > 0, recv(accepted, &buffer, buffer.count, 0) > 0 {}
      close(accepted)
    }
    let started = Date()
    let outcome = try world.sweep(
      "\(backend):8007", "--expect-keepalive", "--format", "ndjson", "--timeout", "1s")
    let keepalive = try #require(try checks(outcome).last?.keepalive)
    #expect(keepalive.requests == nil)
    let idle = try #require(keepalive.idleTimeout)
    // A slow machine closes later, and notices later; never sooner.
    #expect(idle > 4.9 && idle < Date().timeIntervalSince(started))
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
    #expect(lines.contains { $0.contains("1 flap, 1 outage") })
  }

  @Test func `every upstream server of a running nginx is swept`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    try world.startNginx(idle: 5, requests: 100)
    let outcome = try world.sweepFromNginx("--format", "ndjson")
    #expect(outcome.status == 1, "\(outcome.err)")
    let found = try checks(outcome)
    #expect(
      Dictionary(uniqueKeysWithValues: found.map { ($0.target, $0.outcome) }) == [
        "\(backend):8005": "open", "\(backend):8002": "refused",
      ])
    let measured = try world.sweepFromNginx("--expect-keepalive")
    #expect(measured.out.contains("closes after 100 requests (N)"), "\(measured.out)")
    #expect(measured.out.contains("nginx keeps them 1 min: set keepalive_timeout 4s"))
    #expect(measured.out.contains("set keepalive_requests 99"))
  }

  @Test func `a name that moves is followed, and told`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    _ = try world.listen(8001)
    let outcome = try world.sweepNamed(
      "backend.test", first: backend, then: "10.111.0.1", after: 1.0,
      "backend.test:8001", "--every", "100ms", "--count", "40", "--resolve-every", "200ms",
      "--timeout", "500ms")
    #expect(
      outcome.out.contains("backend.test is now 10.111.0.1, was \(backend)"), "\(outcome.out)")
    #expect(
      outcome.out.contains("DOWN  10.111.0.1:8001 (backend.test)"), "\(outcome.out)")
    #expect(outcome.status == 1)
  }

  @Test func `metrics are written in one step, and a bad path is told`() throws {
    let world = try SweepWorld()
    defer { world.tearDown() }
    _ = try world.listen(8001)
    let path = world.scratch.path + "/metrics/upclose.prom"
    let missing = try world.sweep("\(backend):8001", "--textfile", path)
    #expect(missing.status == 2)
    #expect(missing.err.contains(path))
    try FileManager.default.createDirectory(
      atPath: world.scratch.path + "/metrics", withIntermediateDirectories: false)
    #expect(try world.sweep("\(backend):8001", "--textfile", path).status == 0)
    let text = try String(contentsOfFile: path, encoding: .utf8)
    #expect(text.contains("upclose_port_up{target=\"\(backend):8001\"} 1\n"))
    let left = try FileManager.default.contentsOfDirectory(
      atPath: world.scratch.path + "/metrics")
    #expect(left == ["upclose.prom"])
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

/// What needs no root.
@Suite struct SweepCommandTests {
  @Test(
    arguments: [
      [], ["10.0.0.1"], ["10.0.0.1:0"], ["10.0.0.1:80", "--http", "x"],
      ["10.0.0.1:80", "--http", "/", "--tls"], ["10.0.0.1:80", "--count", "3"],
      ["10.0.0.1:80", "--timeout", "0"], ["10.0.0.1:80", "--bind", "x"],
      ["10.0.0.1:80", "--close", "x"], ["10.0.0.1:80", "--pid", "1"],
    ]
  ) func `wrong usage is 64`(arguments: [String]) throws {
    #expect(try Program.run(Program.upclose, ["sweep"] + arguments).status == 64)
  }

  @Test func `what cannot be run is 2`() throws {
    let missing = try Program.upclose("sweep", "--targets", "/nonexistent/targets")
    #expect(missing.status == 2)
    #expect(missing.err.contains("/nonexistent/targets"))
    let unknown = try Program.upclose("sweep", "name.invalid:80")
    #expect(unknown.status == 2)
    #expect(unknown.err.contains("name.invalid"))
  }

  @Test func `a file with a bad line is swept all the same, and told`() throws {
    let scratch = try Scratch()
    let path = try scratch.write("targets", "127.0.0.1:1\nno target\n".utf8)
    let outcome = try Program.upclose("sweep", "--targets", path, "--format", "ndjson")
    #expect(outcome.status == 2)
    #expect(outcome.out.contains("127.0.0.1:1"))
    #expect(outcome.err.contains("\(path):2"))
  }

  @Test func `JSON is one document with each target's history`() throws {
    let outcome = try Program.upclose(
      "sweep", "127.0.0.1:1", "--every", "10ms", "--count", "3", "--format", "json")
    #expect(outcome.status == 1)
    let document = try JSONSerialization.jsonObject(with: Data(outcome.out.utf8))
    let root = try #require(document as? [String: Any])
    #expect(root["rounds"] as? Int == 3)
    let target = try #require((root["targets"] as? [[String: Any]])?.first)
    #expect(target["target"] as? String == "127.0.0.1:1")
    #expect(target["state"] as? String == "down")
    #expect((target["outages"] as? [[String: Any]])?.count == 1)
  }

  @Test func `the unit is one that systemd takes`() throws {
    let outcome = try Program.upclose(
      "sweep", "127.0.0.1:1", "--every", "5s", "--textfile", "/tmp/upclose.prom", "--print-unit")
    #expect(outcome.status == 0)
    #expect(outcome.out.contains("sweep 127.0.0.1:1 --textfile /tmp/upclose.prom\n"))
    #expect(outcome.out.contains("OnUnitInactiveSec=5\n"))
    #expect(!outcome.out.contains("--every"))
    guard FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-analyze") else { return }
    let scratch = try Scratch()
    let marker = "# /etc/systemd/system/upclose-sweep.timer\n"
    let parts = outcome.out.components(separatedBy: marker)
    try #require(parts.count == 2)
    let service = try scratch.write("upclose-sweep.service", parts[0].utf8)
    let timer = try scratch.write("upclose-sweep.timer", parts[1].utf8)
    let verified = try Program.run("/usr/bin/systemd-analyze", ["verify", service, timer])
    #expect(!verified.err.contains("upclose-sweep"), "\(verified.err)")
  }
}
