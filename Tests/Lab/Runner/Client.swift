import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// What came of one request.
struct Answer: Sendable {
  /// nil: nothing that begins like an answer.
  var status: Int?
  /// Whom nginx tried, by its own header.
  var tried: String?
  var isWhole: Bool
  var begin: Timestamp
  var end: Timestamp
}

/// One request on a connection of its own, sent and read to the end by the calling thread.
struct Client {
  var frontend: Endpoint
  var isCancelled: () -> Bool
  private static let counter = Atomic<UInt32>(0)

  struct Request {
    var method: String
    var path: String
    var headers: [String] = []
    /// Bytes of the body.
    var body = 0
    /// Milliseconds to wait for the answer.
    var limit: Int64 = 30_000
  }

  /// A request that was sent, and whose answer has yet to be read.
  final class Pending {
    fileprivate let descriptor: Int32
    fileprivate let request: Request
    fileprivate var unsent: ArraySlice<UInt8>
    fileprivate let begin = currentTime()

    fileprivate init(descriptor: Int32, request: Request, bytes: [UInt8]) {
      self.descriptor = descriptor
      self.request = request
      unsent = bytes[...]
    }

    deinit { close(descriptor) }
  }

  /// - Throws: `ProbeError` when nginx cannot be reached.
  func exchange(_ request: Request) throws -> Answer { finish(try send(request)) }

  /// Sends what the socket takes at once: all of a request without a large body.
  /// - Parameter withheld: so many bytes of the end are kept for `push`.
  func send(_ request: Request, withheld: Int = 0) throws -> Pending {
    var text = "\(request.method) \(request.path) HTTP/1.1\r\nHost: lab.example\r\n"
    text += "Connection: close\r\n"
    for header in request.headers { text += header + "\r\n" }
    if request.method == "POST" || request.body > 0 {
      text += "Content-Length: \(request.body)\r\n"
    }
    var bytes = Array((text + "\r\n").utf8)
    bytes += [UInt8](repeating: UInt8(ascii: "x"), count: request.body)
    let pending = Pending(descriptor: try connected(), request: request, bytes: bytes)
    _ = fcntl(pending.descriptor, F_SETFL, O_NONBLOCK)
    let rest = pending.unsent.suffix(withheld)
    pending.unsent = pending.unsent.dropLast(withheld)
    push(pending)
    pending.unsent += rest
    return pending
  }

  func finish(_ pending: Pending) -> Answer {
    let input = converse(pending, until: monotonicMilliseconds() + pending.request.limit)
    return Self.read(input, method: pending.request.method, begin: pending.begin)
  }

  private func connected() throws -> Int32 {
    // Each from another address of the loopback: where nginx is to run out of local ports, its clients
    // are not.
    let host = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue % 250 + 2
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open a socket", reason: errorText(errno))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = (0x7f00_0000 | UInt32(host)).bigEndian
    _ = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    address.sin_addr.s_addr = (frontend.address.v4 ?? 0).bigEndian
    address.sin_port = frontend.port.bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else {
      let reason = errorText(errno)
      close(descriptor)
      throw ProbeError(doing: "connect to nginx at \(frontend)", reason: reason)
    }
    return descriptor
  }

  /// Sends more of it, as much as the socket takes at once.
  func push(_ pending: Pending) {
    guard !pending.unsent.isEmpty else { return }
    let count = pending.unsent.withUnsafeBytes { raw in
      Glibc.send(pending.descriptor, raw.baseAddress, raw.count, Int32(MSG_NOSIGNAL))
    }
    if count > 0 {
      pending.unsent = pending.unsent.dropFirst(count)
    } else if errno != EAGAIN, errno != EINTR {
      pending.unsent = []
    }
  }

  /// Sends and receives at once: a backend may answer before it has all.
  private func converse(_ pending: Pending, until end: Int64) -> [UInt8] {
    var input: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while monotonicMilliseconds() < end, !isCancelled() {
      let events = pending.unsent.isEmpty ? POLLIN : POLLIN | POLLOUT
      var polled = pollfd(fd: pending.descriptor, events: Int16(events), revents: 0)
      guard poll(&polled, 1, 100) > 0 else { continue }
      if Int32(polled.revents) & POLLOUT != 0 { push(pending) }
      if Int32(polled.revents) & ~POLLOUT != 0 {
        let count = recv(pending.descriptor, &chunk, chunk.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { continue }
        guard count > 0 else { break }
        input += chunk[..<count]
      }
    }
    return input
  }

  /// The connection was closed behind it, so that all that came is the answer.
  private static func read(_ input: [UInt8], method: String, begin: Timestamp) -> Answer {
    let text = String(decoding: input, as: UTF8.self)
    var answer = Answer(isWhole: true, begin: begin, end: currentTime())
    let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
    let words = (lines.first ?? "").split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/") else { return answer }
    answer.status = Int(words[1])
    var promised: Int?
    var head = 0
    for line in lines {
      head += line.utf8.count + 2
      guard !line.isEmpty else { break }
      guard let colon = line.firstIndex(of: ":") else { continue }
      let value = line[line.index(after: colon)...].drop { $0 == " " }
      switch line[..<colon].lowercased() {
      case "x-upstream": answer.tried = String(value)
      case "content-length": promised = Int(value)
      case "transfer-encoding": answer.isWhole = text.hasSuffix("0\r\n\r\n")
      default: break
      }
    }
    if let promised, method != "HEAD" { answer.isWhole = input.count >= head + promised }
    return answer
  }
}
