import Glibc
import LinuxHost

/// What a request may ask for. The request is always read to its end before, so that the kernel has
/// no unread bytes that would turn a FIN into a reset; but for `unread`.
enum Fault: String {
  case close, linger, unread
  case segv, abort, oom, exit, kill
  case truncate, cut
  case garbage, header, chunk, big

  /// It takes all the worker's connections with it.
  var endsWorker: Bool {
    switch self {
    case .segv, .abort, .oom, .exit, .kill: true
    default: false
    }
  }
}

extension Worker {
  mutating func perform(_ fault: Fault, on descriptor: Int32, for request: HTTPRequest) {
    report(options.name, "fault \(fault.rawValue) asked for by \(request.path)")
    note(fault.rawValue, endsWorker: fault.endsWorker, on: descriptor, for: request)
    switch fault {
    case .close:
      drop(descriptor)
    case .linger:
      lingerNot(descriptor)
      drop(descriptor)
    case .unread:
      // Too late: it came in pieces, and was read.
      drop(descriptor)
    case .truncate, .cut:
      send(
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + String(repeating: "x", count: 50),
        on: descriptor)
      if fault == .cut {
        // A reset takes along what the peer has not read yet.
        usleep(20_000)
        lingerNot(descriptor)
      }
      drop(descriptor)
    case .garbage:
      send("\u{16}\u{3}\u{1} this is not HTTP\n", on: descriptor)
      drop(descriptor)
    case .header:
      send("HTTP/1.1 200 OK\r\nBad Header\u{1}: x\r\nContent-Length: 0\r\n\r\n", on: descriptor)
    case .chunk:
      send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n", on: descriptor)
    case .big:
      let value = String(repeating: "a", count: 9000)
      send("HTTP/1.1 200 OK\r\nX-Big: \(value)\r\nContent-Length: 0\r\n\r\n", on: descriptor)
    case .exit:
      Glibc.exit(1)
    case .kill:
      Glibc.kill(getpid(), SIGKILL)
    case .abort:
      signal(SIGABRT, SIG_DFL)
      Glibc.abort()
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

  /// A request that must not be read is recognised by a look at it.
  /// - Returns: whether the connection is gone.
  mutating func closesUnread(_ descriptor: Int32) -> Bool {
    var start = [UInt8](repeating: 0, count: 512)
    let count = recv(descriptor, &start, start.count, Int32(MSG_PEEK))
    guard count > 0 else { return false }
    let line = String(decoding: start[..<count], as: UTF8.self).prefix { $0 != "\r\n" }
    let words = line.split(separator: " ")
    guard words.count == 3, words[1].contains("/fault/unread") else { return false }
    let request = HTTPRequest(
      method: String(words[0]), target: String(words[1]), keepsAlive: true, bodyBytes: 0)
    note("unread", on: descriptor, for: request)
    drop(descriptor)
    return true
  }

  /// Writes down what is about to be done, for the lab's truth.
  func note(
    _ word: String, endsWorker: Bool = false, on descriptor: Int32, for request: HTTPRequest
  ) {
    guard let path = options.deeds else { return }
    var text = deed(request.token ?? "-", descriptor, word)
    if endsWorker {
      for other in connections.keys where other != descriptor { text += deed("-", other, word) }
    }
    let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard file >= 0 else { return report(options.name, "cannot write \(path)") }
    defer { close(file) }
    let bytes = Array(text.utf8)
    _ = write(file, bytes, bytes.count)
  }

  private func deed(_ token: Substring, _ descriptor: Int32, _ word: String) -> String {
    "\(token) \(getpid()) \(peerPort(of: descriptor)) \(word)\n"
  }

  /// The next close is a reset.
  func lingerNot(_ descriptor: Int32) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
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
