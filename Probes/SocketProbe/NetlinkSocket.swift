import CLinux
import Evidence
import Glibc
import LinuxHost

/// A netlink socket; it stays in the network namespace in which it was made.
final class NetlinkSocket: Sendable {
  private let descriptor: Int32

  /// - Parameter family: as NETLINK_SOCK_DIAG.
  /// - Throws: `ProbeError` with the errno's text.
  init(family: Int32, named name: String) throws {
    descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), family)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open a \(name) socket", reason: errorText(errno))
    }
    // A kernel that does not answer must not hang the thread; a dump takes well below a second.
    var limit = timeval(tv_sec: 2, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// Asks for a dump and hands over each message's payload.
  /// - Parameters:
  ///   - type: of the request, as SOCK_DIAG_BY_FAMILY.
  ///   - payload: what follows its header.
  ///   - buffer: for the answers; at least 32 KiB, which is what the kernel fills.
  /// - Throws: `ProbeError` when it cannot be sent, is refused, or is not answered.
  func dump(
    type: UInt16, payload: [UInt8], buffer: UnsafeMutableRawBufferPointer,
    _ body: (UnsafeRawBufferPointer) -> Void
  ) throws {
    let headerSize = MemoryLayout<nlmsghdr>.size
    var request = [UInt8](repeating: 0, count: headerSize)
    request += payload
    let header = nlmsghdr(
      nlmsg_len: UInt32(request.count), nlmsg_type: type,
      nlmsg_flags: UInt16(NLM_F_REQUEST) | UInt16(NLM_F_ROOT | NLM_F_MATCH), nlmsg_seq: 1,
      nlmsg_pid: 0)
    request.withUnsafeMutableBytes { $0.storeBytes(of: header, as: nlmsghdr.self) }
    guard send(descriptor, request, request.count, 0) == request.count else {
      throw ProbeError(doing: "ask for a netlink dump", reason: errorText(errno))
    }
    while true {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw ProbeError(doing: "read a netlink dump", reason: errorText(errno))
      }
      if try take(UnsafeRawBufferPointer(rebasing: buffer[..<count]), body) { return }
    }
  }

  /// - Returns: whether the dump is at its end.
  private func take(_ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void)
    throws -> Bool
  {
    let headerSize = MemoryLayout<nlmsghdr>.size
    var offset = 0
    while bytes.count - offset >= headerSize {
      let header = bytes.loadUnaligned(fromByteOffset: offset, as: nlmsghdr.self)
      let length = Int(header.nlmsg_len)
      guard length >= headerSize, length <= bytes.count - offset else {
        throw ProbeError(doing: "read a netlink dump", reason: "a message is cut")
      }
      let payload = UnsafeRawBufferPointer(
        rebasing: bytes[(offset + headerSize)..<(offset + length)])
      switch Int32(header.nlmsg_type) {
      case NLMSG_DONE:
        return true
      case NLMSG_ERROR:
        let code = payload.count >= 4 ? payload.loadUnaligned(as: Int32.self) : 0
        throw ProbeError(doing: "read a netlink dump", reason: errorText(-code))
      default:
        body(payload)
      }
      offset += (length + 3) & ~3
    }
    return false
  }
}
