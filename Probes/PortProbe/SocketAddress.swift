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
  return withUnsafeBytes(of: storage) { bytes in
    switch Int32(storage.ss_family) {
    case AF_INET:
      let address = bytes.loadUnaligned(as: sockaddr_in.self)
      guard address.sin_port != 0 else { return nil }
      return Endpoint(
        address: IPAddress(v4: UInt32(bigEndian: address.sin_addr.s_addr)),
        port: UInt16(bigEndian: address.sin_port))
    case AF_INET6:
      let port = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
      guard port != 0 else { return nil }
      return Endpoint(
        address: IPAddress(
          high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
          low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))),
        port: port)
    default: return nil
    }
  }
}
