import CLinux
import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Synchronization
import Testing

/// A TCP socket, closed when it is let go.
final class TestSocket {
  let descriptor: Int32

  init(adopting descriptor: Int32) { self.descriptor = descriptor }

  /// Listens on 127.0.0.1, or on every address (of IPv6, too) with a port of the kernel's choice.
  static func listener(everywhere: Bool = false, backlog: Int32 = 16) -> TestSocket? {
    let family = everywhere ? AF_INET6 : AF_INET
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let opened = TestSocket(adopting: Glibc.socket(family, type, 0))
    var storage = sockaddr_storage()
    storage.ss_family = sa_family_t(family)
    if !everywhere {
      withUnsafeMutableBytes(of: &storage) {
        $0.storeBytes(of: UInt32(0x7f00_0001).bigEndian, toByteOffset: 4, as: UInt32.self)
      }
    }
    let size = socklen_t(
      everywhere ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(opened.descriptor, $0, size)
      }
    }
    guard bound == 0, listen(opened.descriptor, backlog) == 0 else { return nil }
    return opened
  }

  /// Connects to a port of 127.0.0.1.
  static func connect(port: UInt16) -> TestSocket? {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let opened = TestSocket(adopting: Glibc.socket(AF_INET, type, 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(opened.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return result == 0 ? opened : nil
  }

  /// Begins to connect to a port of 127.0.0.1, and does not wait.
  static func begin(port: UInt16) -> TestSocket? {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let opened = TestSocket(adopting: Glibc.socket(AF_INET, type, 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(opened.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return result == 0 || errno == EINPROGRESS ? opened : nil
  }

  /// A UNIX socket that listens at a path with a queue of four, or is connected to it.
  static func unix(_ path: String, connecting: Bool) -> TestSocket? {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let opened = TestSocket(adopting: Glibc.socket(AF_UNIX, type, 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connecting
          ? Glibc.connect(opened.descriptor, $0, size) : bind(opened.descriptor, $0, size)
      }
    }
    guard result == 0, connecting || listen(opened.descriptor, 4) == 0 else { return nil }
    return opened
  }

  func accept() -> TestSocket? {
    let accepted = Glibc.accept(descriptor, nil, nil)
    return accepted < 0 ? nil : TestSocket(adopting: accepted)
  }

  var port: UInt16 {
    var storage = sockaddr_storage()
    var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &size)
      }
    }
    return withUnsafeBytes(of: storage) {
      UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    }
  }

  var inode: UInt64 {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  deinit { if descriptor >= 0 { close(descriptor) } }
}

/// Runs a body on a thread of its own, in a network namespace of its own.
func inNewNetworkNamespace<T: Sendable>(_ body: @escaping @Sendable () -> T) throws -> T? {
  let result = Box<T>()
  let thread = try ProbeThread.start("test-netns") { _ in
    guard clinux_unshare(clinux_CLONE_NEWNET) == 0, run("ip link set lo up") == 0 else { return }
    let value = body()
    result.value.withLock { $0 = value }
  }
  thread.stop()
  return result.value.withLock { $0 }
}

final class Box<T: Sendable>: Sendable {
  let value = Mutex<T?>(nil)
}

extension Collector {
  var sockets: [SocketSighting] {
    all.compactMap { if case .socket(let sighting) = $0.fact { sighting } else { nil } }
  }
}
