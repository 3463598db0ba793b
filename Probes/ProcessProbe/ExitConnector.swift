import CLinux
import Evidence
import Glibc
import LinuxHost

/// The kernel's process connector: it tells every exit on the host with its status, also on kernels
/// whose pidfds do not (before Linux 6.15). It needs CAP_NET_ADMIN before 6.6, for opening only, and
/// exists in the host's first network namespace alone.
final class ExitConnector: Sendable {
  let descriptor: Int32

  /// A thread ended, or a process began to write its core.
  struct Exit: Equatable {
    /// Its process.
    var pid: Int32
    var thread: Int32
    /// Nil: it is about to end, and writes its core first.
    var status: WaitStatus?
    /// Nanoseconds of CLOCK_MONOTONIC.
    var monotonic: Int64
  }

  /// - Throws: `ProbeError` when the kernel does not offer it here.
  init() throws {
    descriptor = socket(
      AF_NETLINK, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue),
      NETLINK_CONNECTOR)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open the process connector", reason: errorText(errno))
    }
    var size: Int32 = 1 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    var address = sockaddr_nl()
    address.nl_family = sa_family_t(AF_NETLINK)
    address.nl_groups = 1  // CN_IDX_PROC
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
      }
    }
    guard bound == 0, send(Self.request(listen: true)) else {
      let reason = errorText(errno)
      close(descriptor)
      throw ProbeError(
        doing: "listen to the process connector", reason: reason,
        remedy: "run as root in the host's network namespace")
    }
  }

  deinit {
    // Before Linux 6.6 the kernel counts listeners by what they say, not by their sockets.
    _ = send(Self.request(listen: false))
    close(descriptor)
  }

  private func send(_ message: [UInt8]) -> Bool {
    Glibc.send(descriptor, message, message.count, 0) == message.count
  }

  /// `struct nlmsghdr`, `struct cn_msg` and the wish (include/uapi/linux/connector.h, cn_proc.h).
  static func request(listen: Bool) -> [UInt8] {
    // PROC_CN_MCAST_LISTEN or PROC_CN_MCAST_IGNORE.
    var wish: [UInt32] = [listen ? 1 : 2]
    // Linux 6.6 can be told to send these only (struct proc_input); older ones take the word alone.
    if listen, canFilter { wish.append(exit | coredump) }
    let size = wish.count * 4
    let header = nlmsghdr(
      nlmsg_len: UInt32(16 + 20 + size), nlmsg_type: UInt16(NLMSG_DONE), nlmsg_flags: 0,
      nlmsg_seq: 0, nlmsg_pid: 0)
    var message = withUnsafeBytes(of: header) { Array($0) }
    for word in [1, 1, 0, 0] as [UInt32] { message += withUnsafeBytes(of: word) { Array($0) } }
    for half in [UInt16(size), 0] { message += withUnsafeBytes(of: half) { Array($0) } }
    for word in wish { message += withUnsafeBytes(of: word) { Array($0) } }
    return message
  }

  // PROC_EVENT_EXIT and PROC_EVENT_COREDUMP (include/uapi/linux/cn_proc.h).
  private static let exit: UInt32 = 0x8000_0000
  private static let coredump: UInt32 = 0x4000_0000

  private static var canFilter: Bool {
    var names = utsname()
    guard uname(&names) == 0 else { return false }
    let release = withUnsafeBytes(of: names.release) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
    let parts = release.split(separator: ".").prefix(2).compactMap { Int($0) }
    guard parts.count == 2 else { return false }
    return (parts[0], parts[1]) >= (6, 6)
  }

  /// Reads what is there.
  /// - Returns: how many events the kernel could not deliver made themselves felt (0 or more gaps).
  func drain(_ buffer: UnsafeMutableRawBufferPointer, _ body: (Exit) -> Void) -> UInt64 {
    var gaps: UInt64 = 0
    while true {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count <= 0 {
        if count < 0, errno == ENOBUFS {
          gaps += 1
          continue
        }
        if count < 0, errno == EINTR { continue }
        return gaps
      }
      Self.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]), body)
    }
  }

  /// A process ends with its last thread, and not always is that its first one.
  static func parse(_ bytes: UnsafeRawBufferPointer, _ body: (Exit) -> Void) {
    var offset = 0
    while bytes.count - offset >= 16 {
      let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      guard length >= 16, length <= bytes.count - offset else { return }
      // Behind both headers: what (4), cpu (4), time (8), then pid, tgid, and of an exit its status
      // and signal.
      let event = offset + 16 + 20
      if length >= 16 + 20 + 24 {
        let what = bytes.loadUnaligned(fromByteOffset: event, as: UInt32.self)
        let time = bytes.loadUnaligned(fromByteOffset: event + 8, as: Int64.self)
        let thread = bytes.loadUnaligned(fromByteOffset: event + 16, as: Int32.self)
        let process = bytes.loadUnaligned(fromByteOffset: event + 20, as: Int32.self)
        if what == exit, length >= 16 + 20 + 32 {
          let status = bytes.loadUnaligned(fromByteOffset: event + 24, as: Int32.self)
          body(
            Exit(pid: process, thread: thread, status: WaitStatus(raw: status), monotonic: time))
        } else if what == coredump {
          body(Exit(pid: process, thread: thread, status: nil, monotonic: time))
        }
      }
      offset += (length + 3) & ~3
    }
  }
}
