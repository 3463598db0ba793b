import Foundation
import Glibc
import LabWorld
import LinuxHost
import Testing

/// `attach --role backend` on a host without nginx, beside a prefork server whose ends are real.
@Suite(.enabled(if: getuid() == 0), .serialized) struct BackendRoleTests {
  @Test func `each end of a worker is told apart from the others`() throws {
    let session = try BackendSession()
    defer { session.end() }
    for end in [
      ("crash", "/segv"), ("crash", "/abort"), ("worker-recycle", "/exit?code=0"),
      ("exited", "/exit?code=3"), ("killed-by-master", "/master-kills"),
    ] {
      let worker = try session.ready()
      session.ask(end.1)
      let event = try session.event(of: worker, end.0)
      #expect(event.process?.command == "perl")
      #expect(event.process?.cgroup != nil)
      #expect(event.failure == (end.0 != "worker-recycle"))
      try session.expectCloseWithin(event, path: end.1)
    }
    // From a shell, while it has a request.
    let worker = try session.ready()
    let idle = session.socketCount(of: worker)
    let request = session.begin("/sleep")
    // Until then the connection waits in the queue, and outlives the worker.
    try Program.wait("it has accepted") { session.socketCount(of: worker) > idle }
    _ = try Program.run("/bin/sh", ["-c", "kill -9 \(worker); sleep 0.5"])
    request.waitUntilExit()
    let event = try session.event(of: worker, "killed")
    #expect(event.text.contains("was ended by SIGKILL, sent by pid"))
    #expect(event.text.contains("(sh)"))
    try session.expectCloseWithin(event, path: "/sleep")
  }

  @Test func `a large process that is killed while it serves is joined by its owner`() throws {
    let session = try BackendSession()
    defer { session.end() }
    let worker = try session.ready()
    let request = session.begin("/big")
    // It says so on its own when it has the memory.
    try Program.wait("the worker is large") {
      (ProcTable().residentBytes(of: worker) ?? 0) > 600 << 20
    }
    // Its memory is looked at once a second.
    usleep(1_500_000)
    kill(worker, SIGKILL)
    request.waitUntilExit()
    let event = try session.event(of: worker, "killed")
    try session.expectCloseWithin(event, path: "/big")
    let close = try session.close(of: "/big")
    #expect(close.text.contains("pid \(worker) (perl) was ending"))
  }

  @Test func `an OOM kill names the cgroup and its limit`() throws {
    let undo = Undo()
    defer { _ = undo.run() }
    let group = try MemoryCgroup.make(
      "upclose-test-role-\(getpid())", limit: 48 << 20, undo: undo)
    let session = try BackendSession(cgroup: group.path)
    defer { session.end() }
    let worker = try session.ready()
    session.ask("/oom")
    let event = try session.event(of: worker, "oom-kill")
    #expect(event.text.contains("upclose-test-role-\(getpid())"))
    #expect(event.text.contains("limit 48.0 MiB"))
    try session.expectCloseWithin(event, path: "/oom")
  }

  @Test func `a worker that becomes another program, and a stop and start`() throws {
    let session = try BackendSession()
    defer { session.end() }
    let worker = try session.ready()
    let request = session.begin("/exec")
    let replaced = try session.event(of: worker, "replaced")
    #expect(replaced.text.contains("sleep"))
    kill(worker, SIGKILL)
    request.waitUntilExit()
    let next = try session.ready()
    // With a connection it is known at once, else when it is next looked for.
    let idle = session.socketCount(of: next)
    let last = session.begin("/sleep")
    try Program.wait("it has accepted") { session.socketCount(of: next) > idle }
    _ = try Program.run("/bin/sh", ["-c", "kill -TERM \(session.master); sleep 0.5"])
    last.waitUntilExit()
    let stopped = try session.event(of: next, "stopped")
    #expect(stopped.text.contains("SIGTERM"))
    let master = session.master
    try session.startServer()
    _ = try session.ready()
    let restarted = try session.wait(for: "restarted") { $0.kind == "restarted" }
    #expect(restarted.process?.pid == session.master)
    #expect(restarted.text.contains("pid \(master) (perl) did before"))
  }

  @Test func `what it cannot watch is wrong usage or an error with a way out`() throws {
    #expect(try Program.upclose("attach", "--port", "1").status == 64)
    #expect(try Program.upclose("attach", "--role", "backend", "--format", "json").status == 64)
    let gone = try Program.upclose("attach", "--role", "backend", "--pid", "999999999")
    #expect(gone.status == 2)
    #expect(gone.err.contains("no process has this pid"))
  }
}

/// A prefork server in Perl, of which every Debian has enough, and an attach beside it.
private final class BackendSession {
  struct Event: Decodable {
    struct Process: Decodable {
      var pid: Int32
      var command: String
      var cgroup: String?
    }
    struct Connection: Decodable {
      var client: String
      var request: String?
    }
    var time: String
    var earliest: String
    var latest: String
    var kind: String
    var failure: Bool
    var process: Process?
    var connection: Connection?
    var text: String
  }

  private let scratch: Scratch
  private let attach = Process()
  private var server = Process()
  private let cgroup: String?
  private let port: UInt16
  private var out: String { scratch.path + "/out" }
  var master: Int32 { server.processIdentifier }

  init(cgroup: String? = nil) throws {
    scratch = try Scratch()
    self.cgroup = cgroup
    // Of those that the kernel hands out to nobody else.
    port = UInt16(20_000 + Int(getpid()) % 10_000)
    _ = try scratch.write("server.pl", Self.server.utf8)
    for name in ["out", "err"] { _ = try scratch.write(name, "".utf8) }
    try startServer()
    attach.executableURL = URL(fileURLWithPath: Program.upclose)
    attach.arguments = [
      "attach", "--role", "backend", "--port", "\(port)", "--format", "ndjson", "--interface",
      "lo",
    ]
    attach.standardOutput = FileHandle(forWritingAtPath: out)
    attach.standardError = FileHandle(forWritingAtPath: scratch.path + "/err")
    attach.standardInput = FileHandle.nullDevice
    try attach.run()
    // It says so when everything runs.
    try Program.wait("attach watches") { errors.contains("watching ") || !attach.isRunning }
  }

  private var errors: String {
    (try? String(contentsOfFile: scratch.path + "/err", encoding: .utf8)) ?? ""
  }

  func startServer() throws {
    server = Process()
    server.executableURL = URL(fileURLWithPath: "/usr/bin/perl")
    server.arguments = [scratch.path + "/server.pl", "\(port)", cgroup ?? ""]
    server.standardOutput = FileHandle.nullDevice
    server.standardError = FileHandle.nullDevice
    server.standardInput = FileHandle.nullDevice
    try server.run()
    try Program.wait("the server answers") { answers() }
  }

  func end() {
    attach.interrupt()
    attach.waitUntilExit()
    guard server.isRunning else { return }
    for worker in ProcTable().children(master) { kill(worker, SIGKILL) }
    kill(master, SIGKILL)
    server.waitUntilExit()
  }

  /// The worker that answers now, and is known to attach.
  func ready() throws -> Int32 {
    var worker: Int32 = 0
    try Program.wait("a worker answers") {
      guard answers(), let first = ProcTable().children(master).first else { return false }
      worker = first
      return true
    }
    return worker
  }

  private func answers() -> Bool {
    (try? Program.run("/usr/bin/curl", ["-sf", "-m", "5", "http://127.0.0.1:\(port)/"]).status) == 0
  }

  func ask(_ path: String) { begin(path).waitUntilExit() }

  func begin(_ path: String) -> Process {
    let request = Process()
    request.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
    request.arguments = ["-s", "-m", "20", "-o", "/dev/null", "http://127.0.0.1:\(port)\(path)"]
    request.standardInput = FileHandle.nullDevice
    try? request.run()
    return request
  }

  func socketCount(of pid: Int32) -> Int {
    var count = 0
    _ = ProcTable().forEachSocket(of: pid) { _ in count += 1 }
    return count
  }

  var events: [Event] {
    let text = (try? String(contentsOfFile: out, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").compactMap {
      try? JSONDecoder().decode(Event.self, from: Data($0.utf8))
    }
  }

  func wait(for what: String, _ isIt: (Event) -> Bool) throws -> Event {
    var found: Event?
    do {
      try Program.wait(what) {
        found = events.first(where: isIt)
        return found != nil
      }
    } catch {
      throw Program.Failure(
        description: "\(error); attach told \(events.map(\.text)), and said \(errors)")
    }
    return try #require(found)
  }

  /// The end of a process, of this kind.
  func event(of pid: Int32, _ kind: String) throws -> Event {
    let kinds: Set<String> = [
      "oom-kill", "crash", "killed", "killed-by-master", "master-timeout", "stopped",
      "worker-recycle", "exited", "replaced",
    ]
    let event = try wait(for: "pid \(pid) \(kind)") {
      $0.process?.pid == pid && kinds.contains($0.kind) && $0.connection == nil
    }
    #expect(event.kind == kind, "\(event.text)")
    return event
  }

  func close(of path: String) throws -> Event {
    let plain = path.prefix { $0 != "?" }
    return try wait(for: "the close of \(path)") {
      $0.kind == "close" && $0.connection?.request == "GET \(plain)"
    }
  }

  /// The last close of that request lies within what is said of the end's time.
  func expectCloseWithin(_ event: Event, path: String) throws {
    _ = try close(of: path)
    let plain = path.prefix { $0 != "?" }
    let times = events.filter {
      $0.kind == "close" && $0.connection?.request == "GET \(plain)"
    }.map(\.time)
    #expect(
      times.contains { event.earliest <= $0 && $0 <= event.latest },
      "\(path): closed at \(times), ended between \(event.earliest) and \(event.latest)")
  }

  private static let server = """
    use strict; use IO::Socket::INET; use POSIX ();
    # Foundation's processes begin with every signal blocked.
    POSIX::sigprocmask(POSIX::SIG_SETMASK(), POSIX::SigSet->new);
    my ($port, $group) = @ARGV;
    my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 64,
      ReuseAddr => 1) or die "listen: $!";
    my ($worker, $stop, $kill) = (0, 0, 0);
    sub pause { select(undef, undef, undef, $_[0]) }
    sub serve {
      while (my $c = $l->accept) {
        my $line = <$c>; next unless defined $line;
        while (my $h = <$c>) { last if $h =~ /^\\r?\\n/ }
        if ($line =~ m{ /segv }) { my $x = unpack("p", pack("Q", 8)); }
        if ($line =~ m{ /abort }) { POSIX::abort() }
        if ($line =~ m{ /exit\\?code=(\\d+)}) { POSIX::_exit($1) }
        if ($line =~ m{ /master-kills }) { kill 'USR1', getppid(); pause(60) }
        if ($line =~ m{ /sleep }) { pause(60) }
        if ($line =~ m{ /exec }) { exec "sleep", "60" }
        if ($line =~ m{ /big }) { my $n = 700 << 20; my $x = "x" x $n; pause(60) }
        if ($line =~ m{ /oom }) {
          open(my $f, ">", "$group/cgroup.procs"); print $f "$$\\n"; close $f;
          my @x; push @x, "x" x (4 << 20) while 1;
        }
        print $c "HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"; close $c;
      }
    }
    sub start { my $own = $$; $worker = fork; if (!$worker) {
      $SIG{$_} = 'DEFAULT' for qw(TERM USR1); exit 0 if getppid() != $own; serve(); exit 0 } }
    $SIG{TERM} = sub { $stop = 1; kill 'TERM', $worker if $worker > 0 };
    $SIG{USR1} = sub { kill 'KILL', $worker if $worker > 0 };
    start();
    while (1) {
      my $pid = waitpid($worker, 0);
      next if $pid < 0 && !$stop;
      exit 0 if $stop;
      $worker = 0; pause(0.2); exit 0 if $stop; start();
    }
    """
}
