import Evidence
import Glibc

extension StatusPage {
  /// Asks for the page; nil when there is no answer within a second, or another one.
  func fetch() -> StubStatus? {
    let family = endpoint.address.isV4 ? AF_INET : AF_INET6
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 1, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(
        descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard connect(descriptor) else { return nil }
    // The name stands in a request, so nothing but what a name may hold is let through.
    let name = host.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) }
    let request = Array(
      "GET \(path) HTTP/1.0\r\nHost: \(name)\r\nUser-Agent: upclose\r\n\r\n".utf8)
    guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      return nil
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 2048)
    while answer.count < 8192 {
      let count = read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      answer += chunk[..<count]
    }
    let text = String(decoding: answer, as: UTF8.self)
    guard text.hasPrefix("HTTP/1."), text.dropFirst(9).hasPrefix("200"),
      let body = text.firstRange(of: "\r\n\r\n")?.upperBound
    else { return nil }
    return StubStatus(String(text[body...]))
  }

  private func connect(_ descriptor: Int32) -> Bool {
    func call<Address>(_ address: inout Address) -> Bool {
      withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size)) == 0
        }
      }
    }
    let (high, low) = (endpoint.address.high, endpoint.address.low)
    if endpoint.address.isV4 {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = endpoint.port.bigEndian
      address.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
      return call(&address)
    }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = endpoint.port.bigEndian
    withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
      bytes.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
      bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return call(&address)
  }
}
