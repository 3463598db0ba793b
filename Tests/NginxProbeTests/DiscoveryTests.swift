import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import NginxProbe

/// Against a tree like /proc.
@Suite struct DiscoveryTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  func process(
    _ pid: Int, _ title: String, parent: Int = 1, user: Int = 0, program: String = "/none",
    network: Int = 1, mount: Int = 1
  ) throws {
    mkdir(directory["\(pid)"], 0o755)
    mkdir(directory["\(pid)/ns"], 0o755)
    try directory.write("\(pid)/cmdline", title + "\0\0\0")
    try directory.write(
      "\(pid)/stat",
      "\(pid) (ng) x) S \(parent) \(Array(repeating: "0", count: 17).joined(separator: " ")) 4242 0"
    )
    try directory.write("\(pid)/status", "Name:\tx\nUid:\t\(user)\t0\t0\t0\n")
    symlink(program, directory["\(pid)/exe"])
    symlink("net:[\(network)]", directory["\(pid)/ns/net"])
    symlink("mnt:[\(mount)]", directory["\(pid)/ns/mnt"])
    if !directoryEntries(directory.path).contains("self") {
      symlink("\(pid)", directory["self"])
    }
  }

  @Test func `masters and workers among other processes`() throws {
    try process(1, "/sbin/init")
    try process(
      20, "nginx: master process /usr/sbin/nginx -c /srv/a.conf", program: "/opt/nginx (deleted)")
    try process(21, "nginx: worker process", parent: 20)
    try process(22, "nginx: worker process is shutting down", parent: 20)
    try process(23, "nginx: cache manager process", parent: 20)
    try process(30, "nginx: master process nginx", user: 101, network: 7, mount: 9)
    try process(31, "nginx: worker process", parent: 30)
    try process(40, "vi nginx: master process nginx")
    let discovery = NginxDiscovery(proc: directory.path)
    let found = discovery.find()
    #expect(found.map(\.master) == [20, 30])
    #expect(found[0].executable == "/opt/nginx")
    #expect(found[0].isExecutableDeleted)
    #expect(found[0].configurationPath == "/srv/a.conf")
    #expect(found[0].workers == [21, 22])
    #expect(found[0].workers(shuttingDown: false) == [21])
    #expect(found[0].root == "")
    #expect(found[1].user == 101)
    #expect(found[1].networkNamespace == 7)
    #expect(found[1].isInOtherNetworkNamespace)
    #expect(found[1].root == directory["30/root"])
    #expect(ProcessTable(root: directory.path).status(21)?.startTicks == 4242)
  }

  @Test func `nothing found says where it looked`() throws {
    try process(1, "/sbin/init")
    let discovery = NginxDiscovery(proc: directory.path)
    #expect(discovery.find().isEmpty)
    #expect(
      discovery.whereItLooks
        == "looked at 1 processes in \(directory.path), none is titled `nginx: master process ...`")
    #expect(NginxDiscovery(proc: directory["none"]).find().isEmpty)
  }

  /// Whoever names a process so must not make root run a program.
  @Test func `a program that others can change is not run`() throws {
    let proof = directory["proof"]
    let program = directory["evil"]
    try directory.write("evil", "#!/bin/sh\ntouch \(proof)\n")
    chmod(program, 0o777)
    try process(50, "nginx: master process nginx", user: Int(getuid()), program: program)
    try process(51, "nginx: master process nginx", user: 4242, program: "/bin/true")
    let found = NginxDiscovery(proc: directory.path).find()
    #expect(found.count == 2)
    #expect(found.allSatisfy { TrustedBinary($0) == nil })
    for nginx in found { _ = try? nginx.load() }
    #expect(access(proof, F_OK) != 0)
  }

  @Test func `a configuration that is a pipe is not waited for`() throws {
    let pipe = directory["pipe.conf"]
    mkfifo(pipe, 0o666)
    try process(60, "nginx: master process nginx -c \(pipe)", user: 4242)
    let nginx = try #require(NginxDiscovery(proc: directory.path).find().first)
    let error = #expect(throws: ConfigurationError.self) { try nginx.load() }
    #expect(error?.reason == "cannot read \(pipe): it is not a file")
  }

  @Test func `an nginx of a container is read below its root`() throws {
    mkdir(directory["70"], 0o755)
    for name in ["root", "root/etc", "root/etc/nginx", "root/var", "root/data", "root/etc/sites"] {
      mkdir(directory["70/\(name)"], 0o755)
    }
    try directory.write(
      "70/root/etc/nginx/nginx.conf",
      """
      error_log /var/error.log info; error_log /var/link.log; error_log /var/err2.log;
      events { } http { access_log off; server { location / { proxy_pass http://10.0.0.1:80; } }
      include sites-enabled/*; }
      """)
    // As Debian links its sites: an absolute link starts at the container's root.
    try directory.write(
      "70/root/etc/sites/a", "server { location / { proxy_pass http://10.0.0.2:80; } }")
    symlink("/etc/sites", directory["70/root/etc/nginx/sites-enabled"])
    symlink("/etc/sites/a", directory["70/root/etc/sites/b"])
    symlink("/dev/stderr", directory["70/root/var/error.log"])
    symlink("/var/real.log", directory["70/root/var/link.log"])
    symlink("real2.log", directory["70/root/var/err2.log"])
    try process(1, "init")
    try process(
      70, "nginx: master process nginx -c /etc/nginx/nginx.conf", user: 101, network: 1, mount: 9)
    let nginx = try #require(NginxDiscovery(proc: directory.path).find().first)
    let loaded = try nginx.load()
    let root = directory["70/root"]
    #expect(loaded.instance.errorLogs == ["\(root)/var/real.log", "\(root)/var/real2.log"])
    #expect(loaded.instance.upstreams.first?.location == "/etc/nginx/nginx.conf:2")
    #expect(loaded.instance.upstreams.map(\.name) == ["10.0.0.1", "10.0.0.2"])
    #expect(
      loaded.files == [
        "/etc/nginx/nginx.conf", "/etc/nginx/sites-enabled/a", "/etc/nginx/sites-enabled/b",
      ])
    let spot = try #require(loaded.blindSpots.first { $0.id == "error-log" })
    #expect(spot.what.contains("standard error"))
  }
}

@Suite struct RunCommandTests {
  @Test func `output, errors and code`() throws {
    let result = try runCommand("/bin/sh", ["sh", "-c", "echo out; echo err >&2; exit 3"])
    #expect(
      result == CommandResult(code: 3, output: Array("out\n".utf8), errors: Array("err\n".utf8)))
    #expect(try runCommand("/bin/sh", ["sh", "-c", "kill -9 $$"]).code == nil)
  }

  @Test func `one that hangs is killed with what it started`() {
    let error = #expect(throws: ProbeError.self) {
      try runCommand(
        "/bin/sh", ["sh", "-c", "sleep 1000 & sleep 1000"], timeout: .milliseconds(300))
    }
    #expect(error?.reason == "no end after 300 ms")
    // It closes its outputs, and goes on.
    #expect(throws: ProbeError.self) {
      try runCommand(
        "/bin/sh", ["sh", "-c", "exec >&- 2>&-; sleep 1000"], timeout: .milliseconds(300))
    }
  }

  @Test func `one that never stops writing is killed`() {
    let error = #expect(throws: ProbeError.self) {
      try runCommand("/bin/sh", ["sh", "-c", "yes"], limit: 1 << 20)
    }
    #expect(error?.reason == "it wrote more than 1048576 bytes")
  }

  @Test func `one that does not exist`() {
    #expect(throws: ProbeError.self) { try runCommand("/none", ["none"]) }
  }
}
