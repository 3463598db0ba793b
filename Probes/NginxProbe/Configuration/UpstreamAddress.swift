public import Evidence
import Glibc

/// Every address of a name; empty when it has none.
public typealias AddressLookup = @Sendable (String) -> [IPAddress]

/// Asks this host's resolver, as nginx does when it reads its configuration
/// (src/core/ngx_inet.c, `ngx_inet_resolve_host`).
public let systemLookup: AddressLookup = { name in
  var hints = addrinfo()
  hints.ai_family = AF_UNSPEC
  hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
  hints.ai_flags = AI_ADDRCONFIG
  var list: UnsafeMutablePointer<addrinfo>?
  guard getaddrinfo(name, nil, &hints, &list) == 0 else { return [] }
  defer { freeaddrinfo(list) }
  var addresses: [IPAddress] = []
  var next = list
  while let entry = next?.pointee {
    let socketAddress: UnsafeMutablePointer<sockaddr>? = entry.ai_addr
    let found = socketAddress.map { IPAddress(socketAddress: UnsafePointer($0)) }
    if let address = found ?? nil, !addresses.contains(address) { addresses.append(address) }
    next = entry.ai_next
  }
  return addresses
}

extension IPAddress {
  fileprivate init?(socketAddress: UnsafePointer<sockaddr>) {
    switch Int32(socketAddress.pointee.sa_family) {
    case AF_INET:
      let address = UnsafeRawPointer(socketAddress).loadUnaligned(as: sockaddr_in.self)
      self.init(v4: UInt32(bigEndian: address.sin_addr.s_addr))
    case AF_INET6:
      let address = UnsafeRawPointer(socketAddress).loadUnaligned(as: sockaddr_in6.self)
      let bytes = withUnsafeBytes(of: address.sin6_addr) { raw in
        (
          UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
          UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
      }
      self.init(high: bytes.0, low: bytes.1)
    default: return nil
    }
  }
}

/// Where an upstream's server is, as it is written.
enum UpstreamAddress: Hashable {
  case unix(String)
  /// A host with or without a port.
  case host(String, port: UInt16?)

  /// Reads `host`, `host:port`, `[::1]:port`, `unix:/path` (and `unix:/path:` with what follows).
  init?(_ text: Substring) {
    if text.hasPrefix("unix:") {
      let path = text.dropFirst(5).prefix { $0 != ":" }
      guard !path.isEmpty else { return nil }
      self = .unix(String(path))
      return
    }
    var host = text
    var port: UInt16?
    let colon =
      text.hasPrefix("[")
      ? text.firstIndex(of: "]").flatMap { bracket in
        text[text.index(after: bracket)...].first == ":" ? text.index(after: bracket) : nil
      } : text.firstIndex(of: ":")
    if let colon {
      guard let number = UInt16(text[text.index(after: colon)...]), number > 0 else { return nil }
      port = number
      host = text[..<colon]
    }
    guard !host.isEmpty else { return nil }
    self = .host(String(host), port: port)
  }

  /// As the error log names a group of it: without the port.
  var groupName: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .host(let host, _): host
    }
  }

  /// Every peer that it stands for.
  func peers(defaultPort: UInt16?, _ lookup: AddressLookup) -> [UpstreamPeer] {
    switch self {
    case .unix(let path): return [.unix(path)]
    case .host(let host, let port):
      guard let port = port ?? defaultPort else { return [] }
      let bare = host.hasPrefix("[") ? host.dropFirst().dropLast() : host[...]
      let addresses = IPAddress(parsing: bare).map { [$0] } ?? lookup(host)
      return addresses.map { .tcp(Endpoint(address: $0, port: port)) }
    }
  }
}
