import Evidence
import Testing

@testable import NginxProbe

@Suite struct SettingsTests {
  func read(
    _ text: String, version: NginxVersion? = NginxVersion(1, 22, 1), options: String = ""
  ) throws -> NginxSettings {
    var build = NginxBuild()
    build.version = version
    let lookup: AddressLookup = { name in
      switch name {
      case "localhost": [IPAddress(v4: 0x7f00_0001), IPAddress(high: 0, low: 1)]
      case "backend.local": [IPAddress(v4: 0x0a00_0001)]
      default: []
      }
    }
    var reader = SettingsReader(build: build, prefix: "/opt/nginx", lookup: lookup)
    reader.read(
      try NginxConfiguration.directives(ofOption: text),
      options: try NginxConfiguration.directives(ofOption: options))
    return reader.settings
  }

  func peer(_ text: String) -> UpstreamPeer { UpstreamPeer(text) ?? .group("") }

  @Test func `an upstream block`() throws {
    let settings = try read(
      """
      http {
        upstream Pair {
          zone pair 64k;
          server 10.0.1.11:8080 max_fails=3 fail_timeout=1m30s weight=2;
          server backend.local backup;
          server [::1]:81 down max_conns=0;
          server unix:/run/app.sock max_conns=20;
          server nowhere.local:9000;
          keepalive 16;
          keepalive_timeout 30s;
          keepalive_requests 500;
        }
        server { location / { proxy_pass http://pair/x; } }
      }
      """)
    #expect(
      settings.upstreams == [
        UpstreamGroup(
          name: "Pair",
          servers: [
            UpstreamServer(
              name: "10.0.1.11:8080", peers: [peer("10.0.1.11:8080")], maxFails: 3,
              failTimeout: .seconds(90)),
            UpstreamServer(
              name: "backend.local", peers: [peer("10.0.0.1:80")], isBackup: true),
            UpstreamServer(name: "[::1]:81", peers: [peer("[::1]:81")], isDown: true),
            UpstreamServer(
              name: "unix:/run/app.sock", peers: [.unix("/run/app.sock")], maxConnections: 20),
            UpstreamServer(name: "nowhere.local:9000", peers: []),
          ],
          keepalive: 16, keepaliveTimeout: .seconds(30), keepaliveRequests: 500, hasZone: true,
          location: "command line:2", retry: RetryRules(nextUpstream: ["error", "timeout"]))
      ])
    #expect(settings.blindSpots.map(\.id) == ["unix-socket", "upstream-name"])
  }

  @Test func `groups that a literal address makes`() throws {
    let settings = try read(
      """
      http {
        server {
          location /a { proxy_pass http://127.0.0.1:9001/x; }
          location /b { proxy_pass https://backend.local; }
          location /c { fastcgi_pass unix:/run/php.sock; }
          location /d { grpc_pass grpc://10.0.0.9:50051; }
          location /e { if ($x) { uwsgi_pass localhost:3031; } }
          location /f { proxy_pass http://unix:/run/be.sock:/p; }
          location /g { proxy_pass http://127.0.0.1:9001$request_uri; }
          location /h { memcached_pass [::1]:11211; }
          location /i { scgi_pass 10.0.0.4:4000; }
        }
      }
      stream { server { listen 53; proxy_pass 10.0.0.53:53; } }
      """)
    #expect(settings.upstreams.allSatisfy { !$0.isExplicit && $0.keepalive == nil })
    #expect(
      settings.upstreams.map { group in
        "\(group.name) \(group.servers.flatMap(\.peers).map(\.description).joined(separator: " "))"
      } == [
        "127.0.0.1 127.0.0.1:9001", "backend.local 10.0.0.1:443",
        "unix:/run/php.sock unix:/run/php.sock", "10.0.0.9 10.0.0.9:50051",
        "localhost 127.0.0.1:3031 [::1]:3031", "unix:/run/be.sock unix:/run/be.sock",
        "[::1] [::1]:11211", "10.0.0.4 10.0.0.4:4000", "10.0.0.53 10.0.0.53:53",
      ])
    #expect(settings.upstreams[1].location == "command line:4")
  }

  @Test func `targets in variables`() throws {
    let settings = try read(
      """
      http {
        upstream pair { server 10.0.0.1:80; }
        map $host $pool { hostnames; default pair; b.org 10.0.0.7:81; }
        server {
          set $backend "http://127.0.0.1:9001";
          location /a { proxy_pass $backend; }
          location /b { proxy_pass http://$pool/x; }
          location /c { proxy_pass http://$arg_x; }
          location /d { proxy_pass http://${host}:80; }
        }
      }
      """)
    #expect(settings.upstreams.map(\.name) == ["pair", "127.0.0.1", "10.0.0.7"])
    #expect(
      settings.undecidedTargets == [
        "proxy_pass http://$arg_x (command line:8)",
        "proxy_pass http://${host}:80 (command line:9)",
      ])
  }

  @Test(arguments: [
    ("1.29.7", 32, 1000), ("1.29.6", nil, nil), ("1.22.1", nil, nil), ("1.15.0", nil, nil),
  ])
  func `keepalive that is not written`(version: String, keepalive: Int?, requests: Int?) throws {
    let settings = try read(
      "http { upstream a { server 10.0.0.1:80; } server { location / { proxy_pass http://10.0.0.2; }"
        + "} } stream { upstream b { server 10.0.0.1:80; } }", version: NginxVersion(version))
    #expect(settings.upstreams.map(\.keepalive) == [keepalive, nil, nil])
    #expect(settings.upstreams[0].keepaliveRequests == requests)
    #expect(settings.upstreams[0].keepaliveTimeout == keepalive.map { _ in .seconds(60) })
  }

  @Test(arguments: [
    ("1.31.5", 1000, 60), ("1.19.10", 1000, 60), ("1.19.9", 100, 60), ("1.15.3", 100, 60),
    ("1.15.2", nil, nil),
  ])
  func `keepalive limits that are not written`(version: String, requests: Int?, timeout: Int64?)
    throws
  {
    let group = try #require(
      try read(
        "http { upstream a { server 10.0.0.1; keepalive 8; } }", version: NginxVersion(version)
      ).upstreams.first)
    #expect(group.keepalive == 8)
    #expect(group.keepaliveRequests == requests)
    #expect(group.keepaliveTimeout == timeout.map { .seconds($0) })
    let off = try read(
      "http { upstream a { server 10.0.0.1; keepalive 0; } }", version: NginxVersion(version))
    #expect(off.upstreams.first?.keepalive == nil)
  }

  @Test func `logs at every level`() throws {
    let settings = try read(
      """
      error_log logs/error.log warn;
      error_log /var/log/info.log info;
      http {
        access_log logs/access.log combined;
        error_log syslog:server=10.0.0.1 crit;
        server {
          error_log /dev/null;
          error_log logs/site.log;
          access_log off;
          location / { access_log /var/log/$host.log; error_log stderr; error_log memory:1m debug; }
          location /x { error_log logs/site.log debug_http; }
        }
      }
      """)
    #expect(
      settings.errorLogs.map { "\($0.target) \($0.level.name) \($0.location ?? "")" } == [
        "file(\"/opt/nginx/logs/error.log\") warn command line:1",
        "file(\"/var/log/info.log\") info command line:2",
        "syslog(\"server=10.0.0.1\") crit command line:5",
        "file(\"/opt/nginx/logs/site.log\") debug command line:8",
        "stderr error command line:10", "memory debug command line:10",
      ])
    #expect(
      settings.accessLogs.map(\.target) == [
        .file("/opt/nginx/logs/access.log"), .variable("/var/log/$host.log"),
      ])
  }

  @Test func `logs that are compiled in, and those of -g`() throws {
    #expect(
      try read("http { }").errorLogs.map(\.target) == [.file("/opt/nginx/logs/error.log")])
    #expect(
      try read("http { a; }").accessLogs.map(\.target) == [.file("/opt/nginx/logs/access.log")])
    #expect(
      try read("http { }", options: "daemon off; error_log stderr;").errorLogs.map(\.target) == [
        .stderr
      ])
  }

  @Test(arguments: [
    ("30", 30_000), ("10s", 10_000), ("500ms", 500), ("1m", 60_000), ("1m30s", 90_000),
    ("1h 30m", 5_400_000), ("1d", 86_400_000), ("", nil), ("x", nil), ("10q", nil),
    ("99999999999999999999", nil), ("9223372036854775807y", nil),
  ])
  func `a time`(text: String, milliseconds: Int64?) {
    #expect(parseTime(text) == milliseconds.map { .milliseconds($0) })
  }

  @Test func `what -V says`() {
    let build = NginxBuild(
      parsing: """
        nginx version: nginx/1.22.1 (Debian)
        built with OpenSSL 3.0.22
        configure arguments: --with-cc-opt='-g -O2' --prefix=/usr/share/nginx \
        --conf-path=/etc/nginx/nginx.conf --error-log-path=stderr --http-log-path=/var/log/a.log
        """)
    #expect(build.product == "nginx/1.22.1")
    #expect(build.version == NginxVersion(1, 22, 1))
    #expect(build.prefix == "/usr/share/nginx")
    #expect(build.configurationPath == "/etc/nginx/nginx.conf")
    #expect(build.errorLogPath == "stderr")
    #expect(build.accessLogPath == "/var/log/a.log")
    #expect(NginxVersion("openresty/1.21.4.1") == NginxVersion(1, 21, 4))
    #expect(NginxVersion("nginx") == nil)
  }

  @Test(arguments: [
    ("nginx: master process nginx", NginxArguments()),
    (
      "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;",
      NginxArguments(directives: "daemon on; master_process on;")
    ),
    (
      "nginx: master process nginx -c /a.conf -p/b/ -g daemon off; -e /c.log",
      NginxArguments(
        configuration: "/a.conf", prefix: "/b/", directives: "daemon off;", errorLog: "/c.log")
    ),
    ("nginx: master process nginx -qc /a.conf", NginxArguments(configuration: "/a.conf")),
  ])
  func `a master's title`(title: String, arguments: NginxArguments) {
    #expect(NginxArguments(title: title) == arguments)
    #expect(NginxArguments(title: "x" + title) == nil)
    #expect(NginxArguments(title: "nginx: worker process") == nil)
  }
}
