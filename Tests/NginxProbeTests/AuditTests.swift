import Evidence
import Testing

@testable import NginxProbe

@Suite struct AuditTests {
  /// As `rule LINE`, in the order told.
  func audit(
    _ text: String, version: NginxVersion? = NginxVersion(1, 22, 1),
    measured: [MeasuredBackend] = [], host: HostFacts = HostFacts()
  ) throws -> [AuditFinding] {
    let directory = try TemporaryDirectory()
    try directory.write("nginx.conf", text)
    let loaded = try LoadedNginx(file: directory["nginx.conf"], version: version) { name in
      switch name {
      case "localhost": [IPAddress(v4: 0x7f00_0001), IPAddress(high: 0, low: 1)]
      case "pair.local": [IPAddress(v4: 0x0a00_0001), IPAddress(v4: 0x0a00_0002)]
      case "api.example.com": [IPAddress(v4: 0x0a00_0009)]
      default: []
      }
    }
    return Audit.findings(in: AuditSubject(loaded, measured: measured, host: host))
  }

  func rules(_ findings: [AuditFinding]) -> [String] { findings.map { "\($0.rule) \($0.line)" } }

  /// What an expert would leave alone, with `location` in it; its first line is line 18.
  func good(_ location: String, app: String = "", main: String = "") -> String {
    """
    worker_processes 4; worker_rlimit_nofile 4096; error_log logs/error.log info; \(main)
    events { worker_connections 1024; }
    http {
      \(AccessLogFormat.recommendedDirective)
      access_log logs/access.log upclose;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_connect_timeout 3s;
      upstream app {
        zone app 64k;
        server 10.0.0.1:8080 max_fails=3 fail_timeout=5s;
        server 10.0.0.2:8080 max_fails=3 fail_timeout=5s;
        keepalive 32; keepalive_timeout 4s; \(app)
      }
      server {
        listen 80;
        \(location)
      }
    }
    """
  }

  @Test(arguments: [NginxVersion(1, 18, 0), NginxVersion(1, 22, 1), NginxVersion(1, 29, 7), nil])
  func `nothing is said of a good configuration`(version: NginxVersion?) throws {
    #expect(try audit(good("location / { proxy_pass http://app; }"), version: version) == [])
  }

  @Test func `nothing is said without a backend`() throws {
    let text = "events {} http { server { listen 80; root /srv; } }"
    #expect(try audit(text) == [])
  }

  @Test(arguments: [
    ("location / { proxy_http_version 1.0; proxy_pass http://app; }", "keepalive-not-used"),
    ("location / { proxy_set_header Host $host; proxy_pass http://app; }", "keepalive-not-used"),
    (
      "location / { proxy_set_header connection CLOSE; proxy_pass http://app; }",
      "keepalive-not-used"
    ),
    (
      "location / { proxy_next_upstream off; proxy_pass http://app; }",
      "next-upstream-without-error"
    ),
    (
      "location / { proxy_next_upstream timeout; proxy_pass http://app; }",
      "next-upstream-without-error"
    ),
    (
      "location / { proxy_next_upstream error non_idempotent; proxy_pass http://app; }",
      "non-idempotent-retries"
    ),
    (
      "location / { proxy_next_upstream error http_502; proxy_pass http://app; }",
      "status-disables-peers"
    ),
    ("location / { proxy_request_buffering off; proxy_pass http://app; }", "unbuffered-requests"),
    ("location / { access_log off; proxy_pass http://app; }", "log-format"),
    ("location / { access_log logs/a.log; proxy_pass http://app; }", "log-format"),
    (
      "location / { access_log logs/a.log upclose buffer=32k; proxy_pass http://app; }",
      "log-format"
    ),
    ("location / { proxy_read_timeout 600s; proxy_pass http://app; }", "no-socket-keepalive"),
    ("location / { proxy_connect_timeout 60s; proxy_pass http://app; }", "connect-timeout"),
    ("location / { proxy_connect_timeout 5m; proxy_pass http://app; }", "connect-timeout"),
    ("location / { proxy_read_timeout 2s; proxy_pass http://app; }", "read-timeout"),
    ("location / { proxy_buffers 8 16k; proxy_pass http://app; }", "proxy-buffer-size"),
    ("location / { proxy_pass http://localhost:81; }", "name-with-several-addresses"),
    ("location / { proxy_pass http://pair.local:81; }", "name-with-several-addresses"),
    ("location / { proxy_pass https://api.example.com; }", "no-server-name"),
    ("location / { proxy_pass http://10.0.0.9:443; }", "scheme-mismatch"),
    ("location / { proxy_pass https://10.0.0.9:80; }", "scheme-mismatch"),
    ("location / { uwsgi_connect_timeout 2s; uwsgi_pass 10.0.0.9:9000; }", "uwsgi-buffer-size"),
  ])
  func `one mistake in a good configuration`(location: String, rule: String) throws {
    let findings = try audit(good(location))
    #expect(findings.map(\.rule).contains(rule))
    #expect(Set(findings.map(\.rule)).subtracting([rule, "early-answers"]).isEmpty)
  }

  @Test(arguments: [
    ("keepalive_timeout 60s;", "keepalive-timeout"),
    ("keepalive_requests 100000;", "keepalive-requests"),
    ("keepalive_time 1d;", "keepalive-requests"),
  ])
  func `one mistake in an upstream block`(app: String, rule: String) throws {
    let findings = try audit(good("location / { proxy_pass http://app; }", app: app))
    #expect(findings.first?.rule == rule)
    #expect(Set(findings.map(\.rule)).subtracting([rule, "raced-posts-fail"]).isEmpty)
  }

  @Test func `worker_shutdown_timeout below a request's time`() throws {
    let findings = try audit(
      good("location / { proxy_pass http://app; }", main: "worker_shutdown_timeout 5s;"))
    #expect(rules(findings) == ["shutdown-timeout 1"])
  }

  @Test func `a block without keepalive, before and after 1·29·7`() throws {
    let text = """
      worker_processes 1; error_log e.log info;
      events { worker_connections 100; }
      http {
        \(AccessLogFormat.recommendedDirective)
        access_log a.log upclose;
        proxy_connect_timeout 3s;
        upstream app { server 10.0.0.1:8080; }
        server { location / { proxy_pass http://app; } }
      }
      """
    #expect(rules(try audit(text, version: NginxVersion(1, 29, 6))) == ["ephemeral-ports 10"])
    let after = try audit(text, version: NginxVersion(1, 29, 7))
    #expect(
      rules(after) == ["keepalive-timeout 10", "changed-defaults 10", "raced-posts-fail 11"])
    let off = text.replacing("8080; }", with: "8080; keepalive 0; }")
    #expect(rules(try audit(off, version: NginxVersion(1, 29, 7))) == ["ephemeral-ports 10"])
  }

  @Test func `what a session measured decides`() throws {
    let text = good("location / { proxy_pass http://app; }")
    func with(_ idle: TimeSpan, _ causes: [String: Int] = [:]) throws -> [AuditFinding] {
      try audit(
        text,
        measured: [MeasuredBackend(upstream: "10.0.0.2:8080", idleTimeout: idle, causes: causes)])
    }
    #expect(try with(.seconds(75)) == [])
    let raced = try with(.seconds(2))
    #expect(raced.map(\.rule) == ["keepalive-timeout", "raced-posts-fail"])
    #expect(raced.first?.severity == .error)
    #expect(raced.first?.fix.text == "keepalive_timeout 1600ms;")
    #expect(
      try with(.seconds(75), ["request-limit": 3, "header-too-large": 1]).map(\.rule) == [
        "keepalive-requests", "proxy-buffer-size",
      ])
    // A default of a minute is right where the backend waits longer.
    let plain = text.replacing("keepalive_timeout 4s;", with: "")
    let measured = MeasuredBackend(upstream: "app", idleTimeout: .seconds(75))
    #expect(try audit(plain, measured: [measured]) == [])
  }

  @Test func `the same fault in two places is one finding`() throws {
    let findings = try audit(
      good(
        """
        location /a { proxy_read_timeout 1h; proxy_pass http://app; }
        location /b { proxy_read_timeout 1h; proxy_pass http://app; }
        """))
    #expect(findings.count == 1)
    #expect(findings.first?.also.count == 1)
  }

  @Test func `the host's limits`() throws {
    var host = HostFacts()
    host.processors = 2
    host.somaxconn = 128
    host.deadSockets = ["/run/dead.sock": "it is not a socket"]
    host.workerDescriptors = 100
    let text = good(
      """
      location /a { proxy_pass http://unix:/run/app.sock; }
      location /b { proxy_pass http://unix:/run/dead.sock; }
      """
    ).replacing("worker_rlimit_nofile 4096;", with: "")
    let findings = try audit(text, host: host)
    #expect(findings.map(\.rule) == ["unix-socket", "descriptors", "unix-socket"])
    #expect(findings.map(\.severity) == [.warning, .warning, .note])
  }

  @Test func `a hostile file name stays on its line`() {
    let finding = AuditFinding(
      "x", .note, at: Directive(name: "a", file: "/e\u{1b}[31m\nforged:1", line: 2), "m",
      leadsTo: "l", fix: .init("f", in: "p", tradeOff: "t"))
    #expect(finding.location == "/e\\x1B[31m\\x0Aforged:1:2")
  }

  /// Every directive that a fix names is one that the rules understand when it is written.
  @Test func `the recommended log_format lacks nothing`() throws {
    let formats = AccessLogFormats(
      try NginxConfiguration.directives(
        ofOption: "http { \(AccessLogFormat.recommendedDirective) }"))
    #expect(formats["upclose"].map { AccessLogFormat.missingFields($0.variables) } == [])
  }
}
