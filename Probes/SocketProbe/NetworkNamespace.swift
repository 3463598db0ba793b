import CLinux
import Evidence
import Glibc
import LinuxHost

/// A network namespace of this host, and the way in which it is looked into.
struct NetworkNamespace: Sendable {
  /// As in `net:[4026531840]`; 0 when the host does not tell.
  var inode: UInt64
  var source: Source
  /// Addresses that the namespace itself has.
  var addresses: Set<IPAddress> = []

  enum Source: Sendable {
    /// Sockets that were made in it. They keep the namespace alive: it must be let go soon after its
    /// last process ended.
    case netlink(diagnosis: NetlinkSocket, route: NetlinkSocket?, deaths: DeathListener?)
    /// A namespace that may not be entered.
    case process(ProcNetwork)
  }

  /// Opens sockets in the namespace of the calling thread.
  /// - Parameter ports: whose sockets' ends are heard of.
  init(inode: UInt64, ports: Set<UInt16>) throws {
    self.inode = inode
    // Addresses and ends that cannot be asked for are no reason to do without the rest.
    source = .netlink(
      diagnosis: try NetlinkSocket(family: NETLINK_SOCK_DIAG, named: "NETLINK_SOCK_DIAG"),
      route: try? NetlinkSocket(family: NETLINK_ROUTE, named: "NETLINK_ROUTE"),
      deaths: try? DeathListener(ports: ports))
  }

  /// Looks in from outside.
  /// - Parameter path: a process's `net` directory, as `/proc/77/net`.
  init(inode: UInt64, path: String) {
    self.inode = inode
    source = .process(ProcNetwork(path: path))
  }

  /// Where the kernel tells of sockets that it lets go of, if it does.
  var deaths: DeathListener? {
    if case .netlink(_, _, let deaths) = source { deaths } else { nil }
  }

  /// Its UNIX stream sockets; empty where they cannot be asked for.
  func unixSockets(_ buffer: UnsafeMutableRawBufferPointer) -> [DumpedUnixSocket] {
    guard case .netlink(let diagnosis, _, _) = source else { return [] }
    var sockets: [DumpedUnixSocket] = []
    try? diagnosis.dump(
      type: UInt16(SOCK_DIAG_BY_FAMILY), payload: DumpedUnixSocket.request(), buffer: buffer
    ) {
      if let socket = DumpedUnixSocket($0) { sockets.append(socket) }
    }
    return sockets
  }

  /// Hands over its TCP sockets of the wanted ports (and perhaps others).
  /// - Parameter request: of `SocketDump`, for the same ports.
  func forEachSocket(
    _ request: [UInt8], ports: Set<UInt16>, _ buffer: UnsafeMutableRawBufferPointer,
    _ body: (DumpedSocket) -> Void
  ) throws {
    switch source {
    case .netlink(let diagnosis, _, _):
      try diagnosis.dump(type: SocketDump.type, payload: request, buffer: buffer) {
        if let socket = DumpedSocket($0) { body(socket) }
      }
    case .process(let network):
      for socket in try network.sockets(ports: ports) { body(socket) }
    }
  }

  /// Whether a listener on every address would take a connection to this one.
  func owns(_ address: IPAddress) -> Bool { address.isLoopback || addresses.contains(address) }

  /// Asks again which addresses the namespace has.
  mutating func refreshAddresses(_ buffer: UnsafeMutableRawBufferPointer) {
    let route: NetlinkSocket
    switch source {
    case .process(let network):
      addresses = network.addresses()
      return
    case .netlink(_, let opened, _):
      guard let opened else { return }
      route = opened
    }
    var found: Set<IPAddress> = []
    // RTM_GETADDR with a struct ifaddrmsg of zeros: every family, every interface.
    let request = [UInt8](repeating: 0, count: 8)
    let answer: Void? = try? route.dump(type: 22, payload: request, buffer: buffer) { message in
      guard message.count >= 8 else { return }
      var own: IPAddress?
      forEachAttribute(UnsafeRawBufferPointer(rebasing: message[8...])) { type, value in
        // IFA_LOCAL (2) is the interface's own; IFA_ADDRESS (1) is the peer's where both exist.
        guard type == 2 || type == 1 && own == nil else { return }
        own = Self.address(value)
      }
      if let own { found.insert(own) }
    }
    if answer != nil { addresses = found }
  }

  private static func address(_ bytes: UnsafeRawBufferPointer) -> IPAddress? {
    switch bytes.count {
    case 4: IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
    case 16:
      IPAddress(
        high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
        low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    default: nil
    }
  }
}

/// Finds the network namespaces that processes are in.
struct NamespaceFinder {
  let proc: String

  /// The namespace of the calling thread.
  func current() -> UInt64 {
    readLink("\(proc)/thread-self/ns/net").flatMap { Self.inode($0) } ?? 0
  }

  /// A process of each namespace, by the namespace's inode.
  func find() -> [UInt64: String] {
    var found: [UInt64: String] = [:]
    for name in directoryEntries(proc) where name.utf8.allSatisfy({ (48...57).contains($0) }) {
      guard let link = readLink("\(proc)/\(name)/ns/net"), let inode = Self.inode(link),
        found[inode] == nil
      else { continue }
      found[inode] = name
    }
    return found
  }

  /// Makes sockets in another namespace and returns to the own one.
  /// - Throws: `ProbeError` when the kernel refuses (CAP_SYS_ADMIN is needed), or the process of
  ///   that namespace has ended.
  func open(_ inode: UInt64, ofProcess pid: String, ports: Set<UInt16>) throws
    -> NetworkNamespace
  {
    let own = Glibc.open("\(proc)/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    guard own >= 0 else {
      throw ProbeError(doing: "open the own network namespace", reason: errorText(errno))
    }
    defer { close(own) }
    let path = "\(proc)/\(pid)/ns/net"
    let other = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard other >= 0 else { throw ProbeError(doing: "open \(path)", reason: errorText(errno)) }
    defer { close(other) }
    guard clinux_setns(other, clinux_CLONE_NEWNET) == 0 else {
      throw ProbeError(
        doing: "enter the network namespace of process \(pid)", reason: errorText(errno),
        remedy: "run as root, or grant CAP_SYS_ADMIN")
    }
    let opened = Result { try NetworkNamespace(inode: inode, ports: ports) }
    guard clinux_setns(own, clinux_CLONE_NEWNET) == 0 else {
      throw ProbeError(doing: "return to the own network namespace", reason: errorText(errno))
    }
    return try opened.get()
  }

  /// Enters a namespace, or else looks in from outside: that costs more, and needs no privilege.
  /// - Returns: nil when its process has ended.
  func openOrView(_ inode: UInt64, ofProcess pid: String, ports: Set<UInt16>)
    -> NetworkNamespace?
  {
    if let opened = try? open(inode, ofProcess: pid, ports: ports) { return opened }
    let view = view(ofProcess: pid)
    guard access(view.path + "/tcp", R_OK) == 0 else { return nil }
    return NetworkNamespace(inode: inode, path: view.path)
  }

  func view(ofProcess pid: String) -> ProcNetwork { ProcNetwork(path: "\(proc)/\(pid)/net") }

  /// The number in `net:[4026531840]`.
  static func inode(_ link: String) -> UInt64? {
    guard link.hasPrefix("net:["), link.hasSuffix("]") else { return nil }
    return UInt64(link.dropFirst(5).dropLast())
  }
}
