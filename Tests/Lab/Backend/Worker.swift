import CLinux
import Glibc
import LinuxHost

/// Serves keepalive connections with one poll loop, closes those that are idle for too long, and
/// does the faults that requests ask for.
struct Worker {
  let options: Options
  let listener: Int32
  private var connections: [Int32: Connection] = [:]
  /// POLLRDHUP of poll(2), which Glibc's module hides behind _GNU_SOURCE.
  private static let peerClosed: Int32 = 0x2000

  private struct Connection {
    var input: [UInt8] = []
    /// When it is closed, or answered if an answer waits: monotonic milliseconds.
    var deadline: Int64
    var delayed: HTTPRequest?
  }

  init(_ options: Options, listener: Int32) {
    self.options = options
    self.listener = listener
  }

  mutating func run() -> Int32 {
    _ = clinux_set_parent_death_signal(SIGKILL)
    signal(SIGSEGV, SIG_DFL)
    // One byte: neither a core file nor a pipe to a crash handler, which ignores 0 (core(5)). It
    // would hold the sockets open for as long as it reads the core.
    var limit = rlimit(rlim_cur: 1, rlim_max: 1)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    if let directory = options.memoryCgroup, let problem = enter(directory) {
      report(options.name, problem)
      return 1
    }
    while true {
      var polled = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
      polled += connections.map { descriptor, connection in
        // While an answer waits, only the end of the connection is of interest.
        let events = connection.delayed == nil ? POLLIN : Self.peerClosed
        return pollfd(fd: descriptor, events: Int16(events), revents: 0)
      }
      let next = connections.values.map(\.deadline).min()
      let wait = next.map { Int32(clamping: max(0, $0 - monotonicMilliseconds())) } ?? -1
      guard poll(&polled, nfds_t(polled.count), wait) >= 0 || errno == EINTR else {
        report(options.name, "cannot poll: \(errorText(errno))")
        return 1
      }
      for entry in polled.dropFirst() where entry.revents != 0 { serve(entry.fd) }
      if polled[0].revents != 0 { acceptAll() }
      expire()
    }
  }

  /// - Returns: what went wrong, if anything.
  private func enter(_ directory: String) -> String? {
    let path = directory + "/cgroup.procs"
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "cannot open \(path): \(errorText(errno))" }
    defer { close(descriptor) }
    guard write(descriptor, "0", 1) == 1 else {
      return "cannot enter the memory cgroup \(directory): \(errorText(errno))"
    }
    return nil
  }

  private mutating func acceptAll() {
    while true {
      let descriptor = accept(listener, nil, nil)
      guard descriptor >= 0 else { return }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
      var one: Int32 = 1
      setsockopt(
        descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
      connections[descriptor] = Connection(deadline: idleDeadline())
    }
  }

  private func idleDeadline() -> Int64 {
    monotonicMilliseconds() + Int64(options.idleTimeout * 1000)
  }

  private mutating func expire() {
    let now = monotonicMilliseconds()
    for (descriptor, connection) in connections where connection.deadline <= now {
      if let request = connection.delayed {
        connections[descriptor]?.delayed = nil
        answer(request, on: descriptor)
        handleInput(of: descriptor)
      } else {
        drop(descriptor)
      }
    }
  }

  private mutating func drop(_ descriptor: Int32) {
    close(descriptor)
    connections[descriptor] = nil
  }

  /// Reads what is there and answers whole requests.
  private mutating func serve(_ descriptor: Int32) {
    guard var connection = connections[descriptor] else { return }
    if connection.delayed != nil {
      // The client gave up.
      drop(descriptor)
      return
    }
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    guard count > 0 else {
      drop(descriptor)
      return
    }
    connection.input += chunk[..<count]
    connection.deadline = idleDeadline()
    connections[descriptor] = connection
    handleInput(of: descriptor)
  }

  private mutating func handleInput(of descriptor: Int32) {
    while let input = connections[descriptor]?.input, !input.isEmpty {
      switch HTTPRequest.parse(input) {
      case .incomplete:
        return
      case .refused(let status):
        send("HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", on: descriptor)
        drop(descriptor)
      case .request(let request, let length):
        connections[descriptor]?.input.removeFirst(length)
        if let fault = request.fault {
          perform(fault, on: descriptor, for: request)
        } else if request.delayMilliseconds > 0 {
          let due = monotonicMilliseconds() + request.delayMilliseconds
          connections[descriptor]?.delayed = request
          connections[descriptor]?.deadline = due
          return
        } else {
          answer(request, on: descriptor)
        }
      }
    }
  }

  private mutating func answer(_ request: HTTPRequest, on descriptor: Int32) {
    let body = "\(options.name) answers \(request.method), \(request.bodyBytes) bytes received\n"
    let connection = request.keepsAlive ? "keep-alive" : "close"
    send(
      """
      HTTP/1.1 200 OK\r
      Content-Type: text/plain\r
      Content-Length: \(body.utf8.count)\r
      X-Backend: \(options.name)\r
      X-Worker: \(getpid())\r
      X-Client-Port: \(peerPort(of: descriptor))\r
      Connection: \(connection)\r
      \r

      """ + (request.method == "HEAD" ? "" : body), on: descriptor)
    let deadline = idleDeadline()
    connections[descriptor]?.deadline = deadline
    if !request.keepsAlive { drop(descriptor) }
  }

  /// The port from which the proxy came: names the connection that was used.
  private func peerPort(of descriptor: Int32) -> UInt16 {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(descriptor, $0, &length)
      }
    }
    return UInt16(bigEndian: address.sin_port)
  }

  private func send(_ text: String, on descriptor: Int32) {
    let bytes = Array(text.utf8)
    let count = write(descriptor, bytes, bytes.count)
    // A socket's buffer holds many such answers; a peer that does not read any gets no more.
    if count != bytes.count, errno != EPIPE, errno != ECONNRESET {
      report(options.name, "an answer could not be written: \(errorText(errno))")
    }
  }

  private mutating func perform(
    _ fault: Fault, on descriptor: Int32, for request: HTTPRequest
  ) {
    report(options.name, "fault \(fault.rawValue) asked for by \(request.path)")
    switch fault {
    case .close:
      drop(descriptor)
    case .linger:
      var option = linger(l_onoff: 1, l_linger: 0)
      setsockopt(
        descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
      drop(descriptor)
    case .truncate:
      send(
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + String(repeating: "x", count: 50),
        on: descriptor)
      drop(descriptor)
    case .exit:
      Glibc.exit(1)
    case .segv:
      readNullPointer()
    case .oom:
      guard options.memoryCgroup != nil else {
        // Without a limit of its own it would take the host down.
        report(options.name, "refuses to use up memory without --memory-cgroup")
        send("HTTP/1.1 500 Refused\r\nContent-Length: 0\r\n\r\n", on: descriptor)
        return
      }
      useUpMemory()
    }
  }

  /// Reads a field of a structure at address 0, as a forgotten check for null does.
  private func readNullPointer() {
    let field = UnsafeRawPointer(bitPattern: 16)
    let value = field?.load(as: UInt64.self)
    report(options.name, "address 16 could be read: \(value ?? 0)")
  }

  /// Touches memory until the limit of the cgroup is passed, and the kernel ends this process.
  private func useUpMemory() {
    let chunk = 1 << 20
    for _ in 0..<1024 {
      let memory = mmap(nil, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard let memory, memory != MAP_FAILED else { break }
      memset(memory, 1, chunk)
    }
    report(options.name, "was not killed although it used 1 GiB")
    Glibc.exit(1)
  }
}
