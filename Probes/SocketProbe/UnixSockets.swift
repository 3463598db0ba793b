import CLinux
import Evidence
import Glibc
import LinuxHost

/// A UNIX socket as the kernel's socket diagnosis tells it (include/uapi/linux/unix_diag.h).
struct DumpedUnixSocket: Equatable {
  var inode: UInt64
  var isListener: Bool
  /// Where it is bound, as its program wrote it; nil for one that is not.
  var path: String?
  /// The inode of the file at that path.
  var file: UInt64?
  var peer: UInt64?
  /// For a listener: connections that wait, and how many may.
  var queued: UInt32?
  var backlog: UInt32?

  /// Reads a `struct unix_diag_msg` and the attributes behind it; nil for a datagram socket.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 16, Int32(bytes[0]) == AF_UNIX,
      UInt32(bytes[1]) == SOCK_STREAM.rawValue
    else { return nil }
    inode = UInt64(bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    isListener = Int32(bytes[2]) == SocketDump.listen
    var queues: (UInt32, UInt32)?
    var found: (path: String?, file: UInt64?, peer: UInt64?) = (nil, nil, nil)
    forEachAttribute(UnsafeRawBufferPointer(rebasing: bytes[16...])) { type, value in
      switch Int(type) {
      case Int(UNIX_DIAG_NAME):
        // An abstract name begins with a zero.
        guard value.first != 0 else { return }
        found.path = String(decoding: value.prefix { $0 != 0 }, as: UTF8.self)
      case Int(UNIX_DIAG_VFS) where value.count >= 8:
        found.file = UInt64(value.loadUnaligned(as: UInt32.self))
      case Int(UNIX_DIAG_PEER) where value.count >= 4:
        found.peer = UInt64(value.loadUnaligned(as: UInt32.self))
      case Int(UNIX_DIAG_RQLEN) where value.count >= 8:
        queues = (
          value.loadUnaligned(as: UInt32.self),
          value.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        )
      default: break
      }
    }
    (path, file, peer) = found
    if isListener { (queued, backlog) = (queues?.0, queues?.1) }
  }

  /// The request: stream sockets that listen or are connected, with name, file, peer and queue.
  static func request() -> [UInt8] {
    var request = unix_diag_req()
    request.sdiag_family = UInt8(AF_UNIX)
    // TCP_ESTABLISHED and TCP_LISTEN, which UNIX sockets borrow.
    request.udiag_states = 1 << 1 | 1 << UInt32(SocketDump.listen)
    request.udiag_show = UInt32(
      UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN)
    return withUnsafeBytes(of: request) { Array($0) }
  }
}

/// The UNIX sockets at watched paths, and what a dump says of them.
struct UnixWatch {
  let paths: [String]
  /// Each path's file, where it is there: a backend may have bound it under another name.
  private var pathOfFile: [UInt64: String] = [:]

  init(_ paths: some Sequence<String>) {
    self.paths = Set(paths).sorted()
    for path in self.paths {
      var status = stat()
      // The kernel gives the inode's lower 32 bits.
      if stat(path, &status) == 0 { pathOfFile[UInt64(status.st_ino) & 0xffff_ffff] = path }
    }
  }

  func sightings(of sockets: [DumpedUnixSocket], namespace: UInt64?) -> [UnixSocketSighting] {
    var sightings: [UnixSocketSighting] = []
    var served: [UInt64: String] = [:]
    for socket in sockets {
      guard let path = path(of: socket) else { continue }
      // What was accepted bears the listener's name.
      let role: SocketSighting.Role = socket.isListener ? .listener : .responder
      if !socket.isListener { served[socket.inode] = path }
      sightings.append(
        UnixSocketSighting(
          role: role, path: path, inode: socket.inode, peer: socket.isListener ? nil : socket.peer,
          namespace: namespace, queued: socket.queued, backlog: socket.backlog))
    }
    for socket in sockets {
      guard let peer = socket.peer, let path = served[peer] else { continue }
      sightings.append(
        UnixSocketSighting(
          role: .originator, path: path, inode: socket.inode, peer: peer, namespace: namespace))
    }
    return sightings
  }

  private func path(of socket: DumpedUnixSocket) -> String? {
    if let file = socket.file, let path = pathOfFile[file] { return path }
    guard let path = socket.path, paths.contains(path) else { return nil }
    return path
  }
}

/// Which UNIX sockets are known, so that only news is told.
struct UnixTable {
  private var told: [UInt64: UnixSocketSighting] = [:]
  private static let limit = 65_536

  /// - Returns: what is new or has changed.
  mutating func update(with sightings: [UnixSocketSighting]) -> [UnixSocketSighting] {
    var next: [UInt64: UnixSocketSighting] = [:]
    var news: [UnixSocketSighting] = []
    for sighting in sightings where next.count < Self.limit {
      guard let old = told[sighting.inode] else {
        news.append(sighting)
        next[sighting.inode] = sighting
        continue
      }
      if SocketTable.isQueueNews(
        sighting.queued, after: old.queued, backlog: sighting.backlog)
        || old.role != sighting.role || old.path != sighting.path
      {
        news.append(sighting)
        next[sighting.inode] = sighting
      } else {
        next[sighting.inode] = old
      }
    }
    told = next
    return news
  }
}
