public import Evidence
import LinuxHost

/// What listens in a network namespace, as a process's view of it tells: cheap enough for every few
/// seconds, and needs no privilege.
public struct LocalListeners: Sendable {
  public struct Listener: Hashable, Sendable {
    /// Its address may be unspecified: every address.
    public var endpoint: Endpoint
    public var inode: UInt64
    /// Connections to its port that are open, or were a moment ago.
    public var connections: Int
  }

  public private(set) var listeners: [Listener]
  /// The addresses that the namespace itself has, the loopback's among them.
  public private(set) var addresses: Set<IPAddress>

  /// - Parameter path: a process's `net` directory.
  /// - Throws: `ProbeError` when it cannot be read.
  public init(_ path: String = "/proc/thread-self/net") throws {
    let network = ProcNetwork(path: path)
    addresses = network.addresses()
    var found: [(endpoint: Endpoint, inode: UInt64)] = []
    var connections: [UInt16: Int] = [:]
    let count = { (file: String) throws -> Void in
      for line in try readFile(path + file).split(separator: 10) {
        guard let socket = ProcNetwork.anySocket(line) else { continue }
        if socket.isListener {
          found.append((socket.local, socket.inode))
        } else {
          connections[socket.local.port, default: 0] += 1
        }
      }
    }
    try count("/tcp")
    // A kernel without IPv6 has no such file.
    try? count("/tcp6")
    listeners = found.map {
      Listener(
        endpoint: $0.endpoint, inode: $0.inode, connections: connections[$0.endpoint.port] ?? 0)
    }
  }

  /// The endpoints by which a listener is reached: one on every address has many.
  public func endpoints(of endpoint: Endpoint) -> [Endpoint] {
    guard endpoint.address.isUnspecified else { return [endpoint] }
    // One of IPv6 takes IPv4 as well, but where it was told not to.
    let reached = endpoint.address.isV4 ? addresses.filter(\.isV4) : addresses
    return reached.map { Endpoint(address: $0, port: endpoint.port) }.sorted()
  }
}
