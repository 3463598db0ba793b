import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

/// An nginx of the test's own: its own prefix, configuration, logs and port; killed at the end.
final class RealNginx: Sendable {
  static let isInstalled = access("/usr/sbin/nginx", X_OK) == 0 && getuid() == 0

  let directory: TemporaryDirectory
  let port: UInt16
  let pid: pid_t

  var configurationPath: String { directory["special.conf"] }
  var errorLog: String { directory["error.log"] }

  /// - Parameter http: directives of the `http` block; `PORT` is the listening port.
  init(
    http: String, level: String = "info", workers: Int = 1, standardError: Bool = false,
    port: UInt16? = nil, in directory: TemporaryDirectory? = nil
  ) throws {
    let directory = try directory ?? TemporaryDirectory()
    self.directory = directory
    self.port = try port ?? freePort()
    for name in ["body", "proxy", "fastcgi", "uwsgi", "scgi"] { mkdir(directory[name], 0o700) }
    let text = """
      user root;
      worker_processes \(workers);
      pid nginx.pid;
      error_log \(standardError ? "stderr" : "error.log") \(level);
      events { worker_connections 64; }
      http {
        \(AccessLogFormat.recommendedDirective.replacing("\n", with: " "))
        access_log access.log upclose;
        client_body_temp_path body;
        proxy_temp_path proxy;
        fastcgi_temp_path fastcgi;
        uwsgi_temp_path uwsgi;
        scgi_temp_path scgi;
        \(http.replacing("PORT", with: "127.0.0.1:\(self.port)"))
      }
      """
    try directory.write("special.conf", text)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for descriptor in [1, 2] as [Int32] {
      posix_spawn_file_actions_addopen(
        &actions, descriptor, directory["stderr.log"], O_WRONLY | O_CREAT | O_APPEND, 0o644)
    }
    // Connections of other tests: one that is also here would not end when it is closed there.
    for descriptor in 3..<512 as Range<Int32> {
      posix_spawn_file_actions_addclose(&actions, descriptor)
    }
    let words = [
      "nginx", "-p", directory.path, "-c", "special.conf", "-g", "daemon off;",
    ]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var child = pid_t()
    try #require(posix_spawn(&child, "/usr/sbin/nginx", &actions, nil, arguments, environ) == 0)
    pid = child
    let table = ProcessTable()
    eventually("nginx's workers") {
      table.children(child).filter { table.title($0) == NginxArguments.workerTitle }.count
        == workers
    }
  }

  deinit {
    // The master takes its workers along, and reaps them.
    let workers = ProcessTable().children(pid)
    kill(pid, SIGTERM)
    for _ in 0..<1000 {
      if waitpid(pid, nil, WNOHANG) != 0 { return }
      usleep(10_000)
    }
    for process in [pid] + workers { kill(process, SIGKILL) }
    waitpid(pid, nil, 0)
  }

  func signal(_ number: Int32) { kill(pid, number) }

  private var workers: [pid_t] {
    let table = ProcessTable()
    return table.children(pid).filter { table.title($0) == NginxArguments.workerTitle }
  }

  private func states() -> Set<Character> {
    Set(
      workers.compactMap { worker in
        let stat = (try? readFile("/proc/\(worker)/stat")) ?? []
        return String(decoding: stat, as: UTF8.self).split(separator: ")").last?.dropFirst().first
      })
  }

  /// Stops its workers, or lets them go on; it returns when they are stopped.
  func stopWorkers(_ isStopped: Bool) {
    for worker in workers { kill(worker, isStopped ? SIGSTOP : SIGCONT) }
    if isStopped { eventually("stopped workers") { states() == ["T"] } }
  }

  /// Waits until its workers have done all that they can do now, and wait for events.
  func waitUntilIdle() {
    var looks = 0
    eventually("idle workers") {
      looks = states() == ["S"] ? looks + 1 : 0
      return looks >= 10
    }
  }

  /// Sends a request and reads the answer to its end.
  @discardableResult
  func get(_ path: String, method: String = "GET") -> String {
    let connection = connect(to: port)
    guard connection >= 0 else { return "" }
    defer { close(connection) }
    let request = Array(
      "\(method) \(path) HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n".utf8)
    _ = send(connection, request, request.count, Int32(MSG_NOSIGNAL))
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = read(connection, &chunk, chunk.count), count > 0 {
      answer += chunk[..<count]
    }
    return String(decoding: answer, as: UTF8.self)
  }
}

private func loopback(_ port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return address
}

func connect(to port: UInt16) -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  var address = loopback(port)
  let result = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  if result == 0 { return descriptor }
  close(descriptor)
  return -1
}

func bound(_ port: UInt16) throws -> (descriptor: Int32, port: UInt16) {
  let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  let descriptor = socket(AF_INET, kind, 0)
  var address = loopback(port)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let result = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
      bind(descriptor, name, length) == 0 && getsockname(descriptor, name, &length) == 0
    }
  }
  try #require(result)
  return (descriptor, UInt16(bigEndian: address.sin_port))
}

/// A port of the loopback that nobody listens on now.
func freePort() throws -> UInt16 {
  let (descriptor, port) = try bound(0)
  close(descriptor)
  return port
}

/// A backend on a port of its own, that does one thing with every connection.
final class Backend: Sendable {
  let port: UInt16
  private let thread: ProbeThread
  private let descriptor: Int32

  /// - Parameter serve: gets a connection whose request was read; it is closed afterwards.
  init(_ serve: @escaping @Sendable (Int32) -> Void) throws {
    let (descriptor, port) = try bound(0)
    self.port = port
    self.descriptor = descriptor
    try #require(listen(descriptor, 16) == 0)
    thread = try ProbeThread.start("backend") { thread in
      while !thread.shouldStop {
        guard thread.waitReadable([descriptor], milliseconds: -1).contains(descriptor) else {
          continue
        }
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { continue }
        var request = [UInt8](repeating: 0, count: 4096)
        _ = read(connection, &request, request.count)
        serve(connection)
        close(connection)
      }
    }
  }

  deinit {
    thread.stop()
    close(descriptor)
  }
}

func say(_ connection: Int32, _ text: String) {
  let bytes = Array(text.utf8)
  _ = send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL))
}

/// The next close sends a RST.
func resetOnClose(_ connection: Int32) {
  var option = linger(l_onoff: 1, l_linger: 0)
  setsockopt(
    connection, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
}
