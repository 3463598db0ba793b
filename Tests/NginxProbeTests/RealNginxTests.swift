import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import NginxProbe

/// Against the nginx that is installed here.
@Suite(.enabled(if: RealNginx.isInstalled)) struct RealNginxTests {
  func load(_ nginx: RealNginx) throws -> LoadedNginx {
    try #require(NginxDiscovery().find().first { $0.master == nginx.pid }).load()
  }

  @Test func `a running nginx is found with all that it was started with`() throws {
    let nginx = try RealNginx(
      http: """
        upstream pair { zone pair 64k; server 127.0.0.1:9; server 127.0.0.1:10 backup; keepalive 4; }
        server { listen PORT; location / { proxy_pass http://pair; } }
        """, workers: 2)
    let found = try #require(NginxDiscovery().find().first { $0.master == nginx.pid })
    #expect(found.executable == "/usr/sbin/nginx")
    #expect(!found.isExecutableDeleted)
    #expect(found.prefix == nginx.directory.path)
    #expect(found.configurationPath == nginx.configurationPath)
    #expect(found.arguments.directives == "daemon off;")
    #expect(found.workers.count == 2)
    #expect(!found.isInOtherNetworkNamespace)
    #expect(!found.isInOtherMountNamespace)
    #expect(found.networkNamespace != nil)
    let said = try runCommand("/usr/sbin/nginx", ["nginx", "-v"])
    #expect(
      String(decoding: said.errors, as: UTF8.self).hasPrefix(
        "nginx version: nginx/\(found.build.version?.description ?? "none")"))
    #expect(NginxBuild(binary: "/usr/sbin/nginx") == found.build)

    let loaded = try found.load()
    #expect(
      loaded.instance
        == NginxInstance(
          master: nginx.pid, workers: found.workers, version: found.build.version?.description,
          configurationPath: nginx.configurationPath, errorLogs: [nginx.errorLog],
          accessLogs: [nginx.directory["access.log"]],
          upstreams: [
            UpstreamGroup(
              name: "pair",
              servers: [
                UpstreamServer(
                  name: "127.0.0.1:9",
                  peers: [.tcp(Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 9))]),
                UpstreamServer(
                  name: "127.0.0.1:10",
                  peers: [.tcp(Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 10))],
                  isBackup: true),
              ], keepalive: 4, keepaliveTimeout: .seconds(60), keepaliveRequests: 1000,
              hasZone: true, location: "\(nginx.configurationPath):14",
              retry: RetryRules(nextUpstream: ["error", "timeout"]))
          ]))
    #expect(loaded.blindSpots.isEmpty)
    // The files say the same as `nginx -T`.
    let files = try LoadedNginx(file: nginx.configurationPath, version: found.build.version)
    #expect(files.instance.upstreams == loaded.instance.upstreams)
    let dump = try runCommand(
      "/usr/sbin/nginx", ["nginx", "-T", "-p", nginx.directory.path, "-c", "special.conf"])
    try nginx.directory.write("dump.txt", bytes: dump.output)
    let dumped = try LoadedNginx(
      file: nginx.directory["dump.txt"], version: found.build.version,
      prefix: nginx.directory.path)
    #expect(dumped.instance.upstreams == loaded.instance.upstreams)
    #expect(dumped.instance.errorLogs == [nginx.errorLog])
  }

  /// nginx starts with it, so it must not be refused here.
  @Test func `syntax that is hard to read`() throws {
    let nginx = try RealNginx(
      http: #"""
        map $host $m { "~^a{2}" b; 'x' "y"; default ""; volatile; }
        map $arg_b $backend { default "127.0.0.1:8081"; b '127.0.0.1:8082'; }
        log_format x 'a\'b' "c\"d" e\ f;
        upstream "quoted name" { server 127.0.0.1:81 max_fails=2 fail_timeout=1m; keepalive 3; }
        geo $g { default 0; 127.0.0.1/32 1; }
        split_clients "${remote_addr}AAA" $variant { 0.5% .one; * ""; }
        server { listen PORT; server_name a\;b "c d" "~^(?<x>.{2,3})$";
        location ~ "^/x{1,2}$" { return 200 "a{b}"; }
        if ($host = "x"){ return 200; } set $v "${host}x"; set $w ${host}y; set $z a#b; # } {
        location /b { proxy_pass http://$backend; }
        location /q { proxy_pass "http://quoted name"; }
        location /m { if ($request_method !~ "^(GET|POST)$") { return 405 'multi
        line; } {'; } }
        }
        """#)
    let loaded = try load(nginx)
    #expect(loaded.instance.upstreams.map(\.name) == ["quoted name", "127.0.0.1", "127.0.0.1"])
    #expect(loaded.blindSpots.isEmpty)
    let version = loaded.instance.version.flatMap { NginxVersion($0) }
    let files = try LoadedNginx(file: nginx.configurationPath, version: version)
    #expect(files.instance.upstreams == loaded.instance.upstreams)
  }

  @Test func `what it cannot see is said`() throws {
    let nginx = try RealNginx(
      http: """
        server {
          listen PORT;
          location / { proxy_pass http://unix:/run/none.sock; }
          location /v { resolver 127.0.0.1; proxy_pass http://$arg_to; }
        }
        """, level: "error")
    let loaded = try load(nginx)
    #expect(
      loaded.blindSpots.map(\.id) == ["error-log-level", "unix-socket", "upstream-variable"])
    // A file that is newer than the workers, as after an edit without a reload.
    var times = [timespec(tv_sec: time(nil) + 60, tv_nsec: 0)]
    times.append(times[0])
    utimensat(AT_FDCWD, nginx.configurationPath, times, 0)
    #expect(try load(nginx).blindSpots.map(\.id).contains("nginx-configuration-newer"))
  }

  @Test func `a standard error that is a file is its log`() throws {
    let nginx = try RealNginx(http: "server { listen PORT; }", standardError: true)
    #expect(try load(nginx).instance.errorLogs == [nginx.directory["stderr.log"]])
  }

  @Test func `broken on disk, it is read as far as it says where`() throws {
    let nginx = try RealNginx(http: "server { listen PORT; }")
    try nginx.directory.write("special.conf", "events { }\nhttp { unknown_directive x; }\n")
    let loaded = try load(nginx)
    let spot = try #require(loaded.blindSpots.first { $0.id == "nginx-configuration" })
    #expect(spot.what.contains("unknown directive"))
    try nginx.directory.write("special.conf", "events { }\nhttp {\n")
    let error = #expect(throws: ConfigurationError.self) { try load(nginx) }
    #expect(error?.file == nginx.configurationPath)
    #expect(error?.line == 2)
  }

  @Test func `real failures become their kinds`() throws {
    let closing = try Backend { _ in }
    let resetting = try Backend { resetOnClose($0) }
    let cut = try Backend { say($0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf") }
    let header = try Backend {
      say($0, "HTTP/1.1 200 OK\r\nX: \(String(repeating: "x", count: 9000))")
    }
    let invalid = try Backend { say($0, "HTTP/1.1 200 OK\r\nA\u{1}: b\r\n\r\n") }
    let silent = try Backend { _ in usleep(1_500_000) }
    let nobody = try freePort()
    let nginx = try RealNginx(
      http: """
        upstream dead { server 127.0.0.1:\(nobody); server 127.0.0.1:\(nobody) down; }
        proxy_read_timeout 300ms;
        server {
          listen PORT;
          location /closing { proxy_pass http://127.0.0.1:\(closing.port); }
          location /resetting { proxy_pass http://127.0.0.1:\(resetting.port); }
          location /cut { proxy_pass http://127.0.0.1:\(cut.port)/other; }
          location /header { proxy_pass http://127.0.0.1:\(header.port); }
          location /invalid { proxy_pass http://127.0.0.1:\(invalid.port); }
          location /silent { proxy_pass http://127.0.0.1:\(silent.port); }
          location /refused { proxy_pass http://127.0.0.1:\(nobody); }
          location /tls { proxy_pass https://127.0.0.1:\(closing.port); }
          location /unix { proxy_pass http://unix:\("/run/upclose-none.sock"):/x; }
          location /dead { proxy_pass http://dead; }
          location /fastcgi { fastcgi_pass 127.0.0.1:\(invalid.port); }
        }
        """)
    let probe = NginxProbe([try load(nginx)], options: LogOptions(host: "test"))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    let before = currentTime()
    let expected: [(String, NginxMessage, UInt16?)] = [
      ("/closing?secret=1", .prematurelyClosed, closing.port),
      ("/resetting", .recvFailed, resetting.port),
      ("/cut", .bodyClosed, cut.port),
      ("/header", .headerTooBig, header.port),
      ("/invalid", .invalidResponse, invalid.port),
      ("/silent", .headerTimedOut, silent.port),
      ("/refused", .connectFailed, nobody),
      ("/tls", .tlsClosed, closing.port),
      ("/unix", .connectRefusedAtOnce, nil),
      ("/fastcgi", .protocolError, invalid.port),
    ]
    for (path, _, _) in expected { nginx.get(path) }
    eventually("an error for each") {
      collector.lines.filter { $0.line.message.isUpstreamFailure }.count >= expected.count
    }
    let failures = collector.lines.filter { $0.line.message.isUpstreamFailure }
    #expect(failures.map(\.line.message) == expected.map(\.1))
    #expect(failures.map { $0.line.upstream?.endpoint?.port } == expected.map(\.2))
    #expect(failures.first?.line.request == "GET /closing HTTP/1.1")
    #expect(failures.first?.line.upstreamURI == "/closing")
    #expect(failures[2].line.upstreamRequest == "GET /other")
    #expect(failures[8].line.upstream == .unix("/run/upclose-none.sock"))
    #expect(failures.allSatisfy { $0.line.client == "127.0.0.1" && $0.line.connection != nil })
    #expect(failures.allSatisfy { $0.line.host == "example.org" && !$0.line.isTruncated })
    let workers = Set(try load(nginx).instance.workers)
    #expect(failures.allSatisfy { workers.contains($0.line.worker) })
    let after = currentTime()
    for (line, time) in failures {
      #expect((before...after).contains(time.best))
      #expect(time.earliest >= line.stamped)
    }
    // A hostile path: nginx logs it decoded, with its line feed.
    nginx.get("/%0A2026/11/24%2010:01:02%20[error]%201%231:%20*5%20upstream%20timed%20out")
    eventually("the file that is not there") {
      collector.lines.contains { $0.line.text.contains("\\x0A2026/11/24") }
    }
    #expect(
      collector.lines.filter { $0.line.message.isUpstreamFailure }.count == expected.count)
  }

  @Test func `a reload and a reopened log`() throws {
    let nobody = try freePort()
    let nginx = try RealNginx(
      http: "server { listen PORT; location / { proxy_pass http://127.0.0.1:\(nobody); } }",
      level: "notice")
    let loaded = try load(nginx)
    let probe = NginxProbe([loaded], options: LogOptions(host: "test"))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    func instances() -> [NginxInstance] {
      collector.all.compactMap { observation in
        if case .nginx(let instance) = observation.fact { instance } else { nil }
      }
    }
    #expect(instances() == [loaded.instance])
    let text = String(decoding: try readFile(nginx.configurationPath), as: UTF8.self)
    let second = nginx.directory["second.log"]
    try nginx.directory.write(
      "special.conf",
      text.replacing("pid nginx.pid;", with: "pid nginx.pid; error_log second.log;")
        .replacing("127.0.0.1:\(nobody)", with: "127.0.0.2:\(nobody)"))
    nginx.signal(SIGHUP)
    eventually("the reloaded instance") { instances().last?.errorLogs.contains(second) == true }
    let fresh = try #require(instances().last)
    #expect(Set(fresh.workers) != Set(loaded.instance.workers))
    #expect(fresh.upstreams.map(\.name) == ["127.0.0.2"])
    eventually("the reload in the log") {
      collector.lines.contains { $0.line.message == .reload }
    }
    // What a rotation does.
    rename(nginx.errorLog, nginx.errorLog + ".1")
    nginx.signal(SIGUSR1)
    eventually("the new log") { access(nginx.errorLog, F_OK) == 0 }
    eventually("an error in the new log") {
      nginx.get("/x")
      return collector.lines.contains { $0.line.upstream?.description == "127.0.0.2:\(nobody)" }
    }
    #expect(collector.lines.contains { $0.line.message == .logsReopened })
  }

  @Test func `an nginx in another network namespace is read from its files`() throws {
    let box = Box()
    let thread = try ProbeThread.start("namespace") { _ in
      guard clinux_unshare(clinux_CLONE_NEWNET) == 0 else { return }
      // Its loopback is down.
      let nginx = try? RealNginx(http: "server { listen 0.0.0.0:8099; }", port: 8099)
      box.nginx.withLock { $0 = nginx }
    }
    thread.stop()
    let nginx = try #require(box.nginx.withLock { $0 })
    let found = try #require(NginxDiscovery().find().first { $0.master == nginx.pid })
    #expect(found.isInOtherNetworkNamespace)
    #expect(!found.isInOtherMountNamespace)
    #expect(try found.load().blindSpots.map(\.id) == ["network-namespace"])
  }

  /// As in a container: its files, and its log, are only below `/proc/PID/root`.
  @Test func `an nginx in another mount namespace is followed through its root`() throws {
    let hidden = try TemporaryDirectory()
    let nobody = try freePort()
    let box = Box()
    let newMounts: Int32 = 0x20000
    let thread = try ProbeThread.start("mounts") { _ in
      guard clinux_unshare(newMounts) == 0,
        mount("none", "/", nil, UInt(MS_REC | MS_PRIVATE), nil) == 0,
        mount("tmpfs", hidden.path, "tmpfs", 0, nil) == 0
      else { return }
      let nginx = try? RealNginx(
        http: "server { listen PORT; location / { proxy_pass http://127.0.0.1:\(nobody); } }",
        in: hidden)
      box.nginx.withLock { $0 = nginx }
    }
    thread.stop()
    let nginx = try #require(box.nginx.withLock { $0 })
    #expect(access(nginx.configurationPath, F_OK) != 0)
    let found = try #require(NginxDiscovery().find().first { $0.master == nginx.pid })
    #expect(found.isInOtherMountNamespace)
    #expect(found.build == NginxBuild(binary: "/usr/sbin/nginx"))
    let loaded = try found.load()
    #expect(loaded.instance.errorLogs == ["/proc/\(nginx.pid)/root\(nginx.errorLog)"])
    #expect(loaded.instance.configurationPath == nginx.configurationPath)
    #expect(loaded.blindSpots.isEmpty)
    let probe = NginxProbe([loaded], options: LogOptions(host: "test"))
    let collector = Collector()
    try probe.open()
    try probe.start(collector.sink)
    defer { probe.stop() }
    nginx.get("/x")
    eventually("its error") { collector.lines.contains { $0.line.message == .connectFailed } }
  }

  private final class Box: Sendable {
    let nginx = Mutex<RealNginx?>(nil)
  }
}
