import CLinux
import Evidence
import Foundation
import Glibc

/// Two network namespaces joined by a wire: a client's, in which upclose runs, and a backend's, with
/// targets of every outcome. Behind the backend lie networks that it forwards to in every bad way.
final class SweepWorld {
  static let backend = "10.111.0.2"
  private let client = "upclose-sweep-c\(getpid())"
  private let server = "upclose-sweep-s\(getpid())"
  private var sockets: [Int32] = []
  private var nginx: Process?
  let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    do {
      try shell(
        """
        set -e
        ip netns add \(client); ip netns add \(server)
        ip -n \(client) link add wire type veth peer name wire netns \(server)
        for n in \(client) \(server); do
          ip -n $n link set lo up
          ip netns exec $n sh -c 'for i in wire default; do
            echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done'
        done
        ip -n \(client) addr add 10.111.0.1/24 dev wire
        ip -n \(server) addr add \(Self.backend)/24 dev wire
        ip -n \(client) addr add fd11::1/64 dev wire nodad
        ip -n \(server) addr add fd11::2/64 dev wire nodad
        ip -n \(client) link set wire up; ip -n \(server) link set wire up
        ip netns exec \(server) sh -c 'cd /proc/sys/net; echo 0 >ipv4/icmp_ratelimit
          echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding'
        ip -n \(client) route add 10.112.0.0/16 via \(Self.backend)
        ip -n \(client) -6 route add fd12::/16 via fd11::2
        ip -n \(server) route add unreachable 10.112.1.0/24
        ip -n \(server) route add prohibit 10.112.2.0/24
        ip -n \(server) route add blackhole 10.112.3.0/24
        ip -n \(server) -6 route add prohibit fd12:2::/64
        ip -n \(client) route add prohibit 10.113.0.0/24
        """)
    } catch {
      tearDown()
      throw error
    }
  }

  deinit { tearDown() }

  func tearDown() {
    if let nginx, nginx.isRunning {
      nginx.terminate()
      nginx.waitUntilExit()
    }
    nginx = nil
    for socket in sockets {
      // Wakes the thread that serves it, which holds a descriptor of its own.
      shutdown(socket, Int32(SHUT_RDWR))
      close(socket)
    }
    sockets = []
    _ = try? shell("ip netns del \(client); ip netns del \(server); true")
  }

  struct Failure: Error { var text: String }

  @discardableResult
  private func shell(_ script: String) throws -> String {
    let outcome = try Program.run("/bin/sh", ["-c", script])
    guard outcome.status == 0 else { throw Failure(text: outcome.err) }
    return outcome.out
  }

  /// Runs `upclose sweep` at the client's.
  func sweep(_ arguments: [String]) throws -> Program.Outcome {
    try Program.run("/sbin/ip", ["netns", "exec", client, Program.upclose, "sweep"] + arguments)
  }

  func sweep(_ arguments: String...) throws -> Program.Outcome { try sweep(arguments) }

  /// In the namespace of the backend's nginx, and where no other nginx can be seen.
  func sweepFromNginx(_ arguments: String...) throws -> Program.Outcome {
    try Program.run(
      "/sbin/ip",
      ["netns", "exec", server, Program.upclose, "sweep", "--from-nginx"] + arguments)
  }

  /// Runs a sweep with a hosts file of its own, in which a name moves after a while.
  func sweepNamed(
    _ name: String, first: String, then: String, after seconds: Double, _ arguments: String...
  ) throws -> Program.Outcome {
    let hosts = try scratch.write("hosts", "\(first) \(name)\n".utf8)
    let mover = Thread {
      Thread.sleep(forTimeInterval: seconds)
      // In place: it is the file that is mounted, not its name.
      guard let file = FileHandle(forWritingAtPath: hosts) else { return }
      file.write(Data("\(then) \(name)\n".utf8))
      try? file.truncate(atOffset: UInt64("\(then) \(name)\n".utf8.count))
      try? file.close()
    }
    mover.start()
    let script = "mount --bind \(hosts) /etc/hosts && exec \"$@\""
    return try Program.run(
      "/sbin/ip",
      ["netns", "exec", client, "/bin/sh", "-c", script, "-", Program.upclose, "sweep"] + arguments)
  }

  /// `port` is listened on at the backend's.
  func listen(_ port: UInt16, backlog: Int32 = 64) throws -> Int32 {
    let descriptor = try inNamespace(server) {
      let made = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var one: Int32 = 1
      setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      return Self.address(port) { bind(made, $0, $1) == 0 && Glibc.listen(made, backlog) == 0 }
        ? made : -1
    }
    guard descriptor >= 0 else { throw Failure(text: "listen on \(port)") }
    sockets.append(descriptor)
    return descriptor
  }

  /// The kernel drops every SYN to it.
  func listenWithFullQueue(_ port: UInt16) throws {
    _ = try listen(port, backlog: 0)
    let filling = try inNamespace(server) {
      let made = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      return Self.address(port) { connect(made, $0, $1) } == 0 ? made : -1
    }
    guard filling >= 0 else { throw Failure(text: "fill the queue of \(port)") }
    sockets.append(filling)
  }

  /// Each connection is handed to `handle`, which closes it.
  func serve(_ port: UInt16, _ handle: @escaping @Sendable (Int32) -> Void) throws {
    let listener = dup(try listen(port))
    let thread = Thread {
      while true {
        let accepted = accept(listener, nil, nil)
        guard accepted >= 0 else { break }
        handle(accepted)
      }
      close(listener)
    }
    thread.start()
  }

  /// A real nginx at the backend's: 8001 plain, 8443 TLS, 8005 with the keepalive to be measured.
  func startNginx(idle: Int, requests: Int) throws {
    let directory = scratch.path
    try shell(
      """
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \\
        -subj /CN=backend -keyout \(directory)/key -out \(directory)/cert 2>/dev/null
      """)
    let configuration = """
      user root; worker_processes 1; daemon off; pid \(directory)/pid; error_log \(directory)/error.log;
      events {}
      http {
        access_log off; client_body_temp_path \(directory)/b; proxy_temp_path \(directory)/p;
        fastcgi_temp_path \(directory)/f; uwsgi_temp_path \(directory)/u; scgi_temp_path \(directory)/s;
        server { listen 8001; listen [::]:8001; return 200 "plain\\n"; }
        upstream pair { server \(Self.backend):8005; server \(Self.backend):8002; keepalive 4; }
        server { listen 8080; location / { proxy_pass http://pair; } }
        server { listen 8443 ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate \(directory)/cert;
                 ssl_certificate_key \(directory)/key; return 200 "tls\\n"; }
        server { listen 8005; keepalive_timeout \(idle)s; keepalive_requests \(requests);
                 location /broken { return 503; } location / { return 200 "kept\\n"; } }
      }
      """
    let path = try scratch.write("nginx.conf", configuration.utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/sbin/ip")
    process.arguments = [
      "netns", "exec", server, "nginx", "-e", "\(directory)/error.log", "-c", path,
    ]
    process.standardError = FileHandle.nullDevice
    try process.run()
    nginx = process
    for _ in 0..<600 {
      if try sweep("\(Self.backend):8001", "\(Self.backend):8443").status == 0 { return }
      usleep(50_000)
    }
    throw Failure(text: "nginx did not start")
  }

  private static func address<R>(
    _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
  ) -> R {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr(backend)
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// A namespace belongs to a thread, a socket stays where it was made.
  private func inNamespace(_ name: String, _ body: @escaping @Sendable () -> Int32) throws -> Int32
  {
    final class Box: @unchecked Sendable { var value: Int32 = -1 }
    let (box, done) = (Box(), DispatchSemaphore(value: 0))
    let thread = Thread {
      let namespace = open("/run/netns/\(name)", O_RDONLY | O_CLOEXEC)
      if clinux_setns(namespace, clinux_CLONE_NEWNET) == 0 { box.value = body() }
      close(namespace)
      done.signal()
    }
    thread.start()
    done.wait()
    return box.value
  }
}
