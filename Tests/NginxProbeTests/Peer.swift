import Glibc
import LinuxHost

/// One end of a TCP connection, moved by hand: a client of nginx, or the backend behind it. Nothing it
/// does waits for ever.
final class Peer {
  let descriptor: Int32
  private var isOpen = true

  init(descriptor: Int32) {
    self.descriptor = descriptor
    // Also in a child that a test beside this one starts it would stay open.
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// A client's connection to a port.
  convenience init(to port: UInt16) { self.init(descriptor: connect(to: port)) }

  deinit { close() }

  func close() {
    if isOpen { Glibc.close(descriptor) }
    isOpen = false
  }

  /// Closes with a RST.
  func reset() {
    resetOnClose(descriptor)
    close()
  }

  func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

  func say(_ text: String) { NginxProbeTests.say(descriptor, text) }

  func say(bytes count: Int) {
    let chunk = [UInt8](repeating: 0x78, count: 64 << 10)
    var rest = count
    while rest > 0 {
      let sent = send(descriptor, chunk, min(rest, chunk.count), Int32(MSG_NOSIGNAL))
      guard sent > 0 else { return }
      rest -= sent
    }
  }

  /// Sends a request; with a length its body is still to come.
  func ask(_ path: String, method: String = "GET", length: Int? = nil, upgrade: Bool = false) {
    let body = length.map { "Content-Length: \($0)\r\n" } ?? ""
    let words = upgrade ? "Upgrade: websocket\r\nConnection: upgrade\r\n" : ""
    say("\(method) /\(path) HTTP/1.1\r\nHost: example.org\r\n\(body)\(words)\r\n")
  }

  /// Answers a request, and keeps the connection.
  func answer() { say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }

  /// What comes until an end is there, or nothing more comes.
  @discardableResult
  func read(until end: String = "\r\n\r\n", more: Int = 0) -> String {
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    let wanted = Array(end.utf8)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      text += chunk[..<count]
      if let found = text.firstRange(of: wanted), text.count - found.upperBound >= more { break }
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// Waits until the other side has closed.
  func readToEnd() {
    var chunk = [UInt8](repeating: 0, count: 4096)
    while Glibc.read(descriptor, &chunk, chunk.count) > 0 {}
  }

  /// The status of the answer, which is read with its body.
  func status() -> Int? {
    let head = read()
    guard let space = head.firstIndex(of: " ") else { return nil }
    if let length = head.firstRange(of: "Content-Length: ") {
      let count = Int(head[length.upperBound...].prefix { $0.isNumber }) ?? 0
      let body = head.firstRange(of: "\r\n\r\n").map { head[$0.upperBound...].utf8.count } ?? 0
      var rest = [UInt8](repeating: 0, count: 4096)
      var missing = count - body
      while missing > 0 {
        let got = Glibc.read(descriptor, &rest, min(missing, rest.count))
        if got <= 0 { break }
        missing -= got
      }
    }
    return Int(head[head.index(after: space)...].prefix { $0.isNumber })
  }

  /// Drops all that comes in from now on, as a network that swallows packets; or no more.
  func swallow(_ isSwallowing: Bool) {
    guard isSwallowing else {
      var nothing: Int32 = 0
      setsockopt(descriptor, SOL_SOCKET, 27, &nothing, 4)
      return
    }
    // One instruction of BPF, `ret #0`, and where it stands (SO_ATTACH_FILTER, 26).
    var program: UInt64 = 0x06
    withUnsafeMutablePointer(to: &program) { program in
      var filter = (length: UInt64(1), program: UInt(bitPattern: program))
      setsockopt(descriptor, SOL_SOCKET, 26, &filter, 16)
    }
  }
}

/// A backend's listening socket.
final class Listener {
  let peer: Peer
  let port: UInt16

  init(smallWindow: Bool = false, backlog: Int32 = 16) throws {
    let (descriptor, port) = try bound(0)
    self.port = port
    if smallWindow {
      var size: Int32 = 4096
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }
    listen(descriptor, backlog)
    peer = Peer(descriptor: descriptor)
  }

  func accept() -> Peer { Peer(descriptor: Glibc.accept(peer.descriptor, nil, nil)) }

  /// Accepts a connection and reads its request's header.
  func serve() -> Peer {
    let connection = accept()
    connection.read()
    return connection
  }
}
