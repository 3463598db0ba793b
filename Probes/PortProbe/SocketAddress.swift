import Evidence
import Glibc

/// Hands an endpoint to the kernel as it wants it: `sockaddr_in` or `sockaddr_in6`.
func withSocketAddress<R>(
  _ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
) -> R {
  if let v4 = endpoint.address.v4 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = endpoint.port.bigEndian
    address.sin_addr.s_addr = v4.bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
  var address = sockaddr_in6()
  address.sin6_family = sa_family_t(AF_INET6)
  address.sin6_port = endpoint.port.bigEndian
  withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
    bytes.storeBytes(of: endpoint.address.high.bigEndian, as: UInt64.self)
    bytes.storeBytes(of: endpoint.address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
  }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
    }
  }
}

/// The own address and port of a socket; nil while it has none.
func localEndpoint(_ descriptor: Int32) -> Endpoint? {
  var storage = sockaddr_storage()
  var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let result = withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      getsockname(descriptor, $0, &size)
    }
  }
  guard result == 0 else { return nil }
  let own = withUnsafeBytes(of: storage) { endpoint(ofSocketAddress: $0) }
  return own?.port == 0 ? nil : own
}

/// Reads a `sockaddr_in` or `sockaddr_in6`; nil for any other, or when it is cut short.
func endpoint(ofSocketAddress bytes: UnsafeRawBufferPointer) -> Endpoint? {
  guard bytes.count >= 2 else { return nil }
  switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
  case AF_INET:
    guard bytes.count >= 8 else { return nil }
    let address = bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
    let port = bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
    return Endpoint(
      address: IPAddress(v4: UInt32(bigEndian: address)), port: UInt16(bigEndian: port))
  case AF_INET6:
    guard bytes.count >= 24 else { return nil }
    let port = bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
    let high = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let low = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    return Endpoint(
      address: IPAddress(high: UInt64(bigEndian: high), low: UInt64(bigEndian: low)),
      port: UInt16(bigEndian: port))
  default: return nil
  }
}
