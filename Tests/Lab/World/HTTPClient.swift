package import Evidence
import Glibc
import LinuxHost

/// One keepalive connection to nginx, in the network namespace of the thread that opens it.
package final class HTTPClient {
  package struct Response {
    package var status: Int
    /// Names in lower case.
    package var headers: [String: String]
    /// The body was as long as promised.
    package var isComplete: Bool
    package var keepsAlive: Bool
  }

  private let descriptor: Int32
  private let isCancelled: () -> Bool
  private var buffer: [UInt8] = []
  package let local: Endpoint

  /// - Parameter isCancelled: looked at ten times a second while waiting for an answer.
  package init(to server: Endpoint, isCancelled: @escaping () -> Bool) throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open a socket", reason: errorText(errno))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = (server.address.v4 ?? 0).bigEndian
    address.sin_port = server.port.bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
        let connected = connect(descriptor, raw, length)
        return connected == 0 ? getsockname(descriptor, raw, &length) : connected
      }
    }
    guard result == 0 else {
      let reason = errorText(errno)
      close(descriptor)
      throw ProbeError(doing: "connect to \(server)", reason: reason)
    }
    self.descriptor = descriptor
    self.isCancelled = isCancelled
    local = Endpoint(
      address: IPAddress(v4: UInt32(bigEndian: address.sin_addr.s_addr)),
      port: UInt16(bigEndian: address.sin_port))
  }

  deinit { close(descriptor) }

  /// Sends a request (a POST with a small body) and waits for its answer.
  package func exchange(_ method: String, _ target: String) throws -> Response {
    try send(method, target)
    return try receive()
  }

  package func send(_ method: String, _ target: String) throws {
    let body = method == "POST" ? "quantity=1&item=lab" : ""
    var head = "\(method) \(target) HTTP/1.1\r\nHost: lab.example\r\nUser-Agent: lab\r\n"
    if method == "POST" {
      head += "Content-Type: application/x-www-form-urlencoded\r\n"
      head += "Content-Length: \(body.utf8.count)\r\n"
    }
    // One segment: the socket's buffer is empty, and this is small.
    let bytes = Array((head + "\r\n" + body).utf8)
    let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    guard count == bytes.count else {
      throw ProbeError(doing: "send \(method) \(target)", reason: errorText(errno))
    }
  }

  /// - Parameter limit: milliseconds.
  package func receive(limit: Int64 = 60_000) throws -> Response {
    let end = monotonicMilliseconds() + limit
    while true {
      if let (response, length) = Self.parse(buffer, atEnd: false) {
        buffer.removeFirst(length)
        return response
      }
      guard try readMore(until: end) else {
        guard let (response, _) = Self.parse(buffer, atEnd: true) else {
          throw ProbeError(doing: "read an answer", reason: "nginx closed the connection")
        }
        return response
      }
    }
  }

  /// - Returns: false at the end of the stream.
  private func readMore(until end: Int64) throws -> Bool {
    while true {
      if isCancelled() { throw Cancelled() }
      guard monotonicMilliseconds() < end else {
        throw ProbeError(doing: "read an answer", reason: "none came in time")
      }
      var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&polled, 1, 100) > 0 else { continue }
      var chunk = [UInt8](repeating: 0, count: 16 << 10)
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw ProbeError(doing: "read an answer", reason: errorText(errno))
      }
      buffer += chunk[..<count]
      return count > 0
    }
  }

  /// Takes a whole answer apart; at the end of the stream one cut short, too.
  private static func parse(_ bytes: [UInt8], atEnd: Bool) -> (Response, length: Int)? {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let headEnd = text.firstRange(ofEmptyLine: ()) else { return nil }
    let lines = text[..<headEnd.lowerBound].split(separator: "\r\n")
    let words = (lines.first ?? "").split(separator: " ")
    guard words.count >= 2, let status = Int(words[1]) else { return nil }
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { continue }
      headers[line[..<colon].lowercased()] = String(
        line[line.index(after: colon)...].drop { $0 == " " })
    }
    let headLength = text[..<headEnd.upperBound].utf8.count
    let promised = headers["content-length"].flatMap(Int.init) ?? 0
    let isComplete = bytes.count >= headLength + promised
    guard isComplete || atEnd else { return nil }
    let response = Response(
      status: status, headers: headers, isComplete: isComplete,
      keepsAlive: headers["connection"]?.lowercased() != "close" && !atEnd)
    return (response, min(bytes.count, headLength + promised))
  }
}

/// The world is to end: not an error of anyone's.
struct Cancelled: Error {}

extension String {
  fileprivate func firstRange(ofEmptyLine: Void) -> Range<String.Index>? {
    // "\r\n" is one character to Swift, so the head ends where two of them meet.
    var index = startIndex
    while index < endIndex {
      let next = self.index(after: index)
      if self[index] == "\r\n", next < endIndex, self[next] == "\r\n" {
        return index..<self.index(after: next)
      }
      index = next
    }
    return nil
  }
}
