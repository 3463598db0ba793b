import CLinux
import Glibc
import LinuxHost

/// Serves keepalive connections with one poll loop, closes those that are idle for too long, and
/// does the faults that requests ask for.
struct Worker {
  let options: Options
  let listener: Int32
  var connections: [Int32: Connection] = [:]
  /// POLLRDHUP of poll(2), which Glibc's module hides behind _GNU_SOURCE.
  private static let peerClosed: Int32 = 0x2000

  struct Connection {
    var input: [UInt8] = []
    /// When it is closed, or answered if an answer waits: monotonic milliseconds.
    var deadline: Int64
    var delayed: HTTPRequest?
    var answers = 0
    /// It is closed at its deadline, whatever comes.
    var isSpent = false
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
      if connection.isSpent {
        drop(descriptor)
      } else if let request = connection.delayed {
        connections[descriptor]?.delayed = nil
        answer(request, on: descriptor)
        handleInput(of: descriptor)
      } else {
        if options.resetsIdle { lingerNot(descriptor) }
        drop(descriptor)
      }
    }
  }

  mutating func drop(_ descriptor: Int32) {
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
    if closesUnread(descriptor) { return }
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    guard count > 0 else {
      drop(descriptor)
      return
    }
    connection.input += chunk[..<count]
    // What a spent connection is sent is not looked at: it is closed with it.
    guard !connection.isSpent else { return }
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
          note("slow", on: descriptor, for: request)
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
    guard request.keepsAlive else { return drop(descriptor) }
    connections[descriptor]?.answers += 1
    var deadline = idleDeadline()
    if let limit = options.requestLimit, connections[descriptor]?.answers ?? 0 >= limit {
      guard options.limitPause > 0 else { return drop(descriptor) }
      deadline = monotonicMilliseconds() + options.limitPause
      connections[descriptor]?.isSpent = true
    }
    connections[descriptor]?.deadline = deadline
  }

  /// The port from which the proxy came: names the connection that was used.
  func peerPort(of descriptor: Int32) -> UInt16 {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(descriptor, $0, &length)
      }
    }
    return UInt16(bigEndian: address.sin_port)
  }

  func send(_ text: String, on descriptor: Int32) {
    let bytes = Array(text.utf8)
    let count = write(descriptor, bytes, bytes.count)
    // A socket's buffer holds many such answers; a peer that does not read any gets no more.
    if count != bytes.count, errno != EPIPE, errno != ECONNRESET {
      report(options.name, "an answer could not be written: \(errorText(errno))")
    }
  }
}
