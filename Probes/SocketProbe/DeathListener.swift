import CLinux
import Evidence
import Glibc
import LinuxHost

/// Hears from the kernel when a TCP socket of its network namespace is let go
/// (NETLINK_SOCK_DIAG's groups SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY, Linux 4.4).
///
/// It costs the kernel a message for every TCP socket of the namespace; what is not of the watched
/// ports is dropped there, before it is queued.
final class DeathListener: Sendable {
  let descriptor: Int32

  /// SO_RCVBUFFORCE, which Glibc's module does not offer.
  private static let receiveBufferForce: Int32 = 33
  /// For a second of 10,000 deaths; the kernel counts about 1.3 KB for each.
  private static let bufferSize: Int32 = 16 << 20

  /// Listens in the network namespace of the calling thread.
  /// - Throws: `ProbeError` without CAP_NET_ADMIN there, which is needed for this alone.
  init(ports: some Collection<UInt16>) throws {
    descriptor = socket(
      AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue),
      NETLINK_SOCK_DIAG)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open a NETLINK_SOCK_DIAG socket", reason: errorText(errno))
    }
    var size = Self.bufferSize
    if setsockopt(descriptor, SOL_SOCKET, Self.receiveBufferForce, &size, 4) != 0 {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }
    filter(ports: ports)
    var address = sockaddr_nl()
    address.nl_family = sa_family_t(AF_NETLINK)
    // A group's number is its bit, from 1.
    address.nl_groups =
      1 << (SKNLGRP_INET_TCP_DESTROY.rawValue - 1) | 1 << (SKNLGRP_INET6_TCP_DESTROY.rawValue - 1)
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
      }
    }
    guard bound == 0 else {
      let reason = errorText(errno)
      close(descriptor)
      throw ProbeError(
        doing: "listen for the ends of sockets", reason: reason,
        remedy: "run as root, or grant CAP_NET_ADMIN")
    }
  }

  deinit { close(descriptor) }

  /// Replaces the kernel's filter; it needs no privilege.
  func filter(ports: some Collection<UInt16>) {
    var program = Self.program(ports: ports)
    program.withUnsafeMutableBufferPointer { buffer in
      var filter = sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
      setsockopt(
        descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
        socklen_t(MemoryLayout<sock_fprog>.size))
    }
  }

  /// More than this are not filtered by the kernel: its programs have 4096 steps.
  static let mostPorts = 1000

  /// A classic BPF program over the netlink message: a header of 16 bytes, then `struct
  /// inet_diag_msg` with its ports at 4 and 6.
  static func program(ports: some Collection<UInt16>) -> [sock_filter] {
    func step(_ code: UInt16, _ yes: UInt8, _ no: UInt8, _ value: UInt32) -> sock_filter {
      sock_filter(code: code, jt: yes, jf: no, k: value)
    }
    let accept = step(0x06, 0, 0, UInt32.max)  // BPF_RET
    guard ports.count <= mostPorts else { return [accept] }
    var program: [sock_filter] = []
    for offset in [20, 22] as [UInt32] {
      program.append(step(0x28, 0, 0, offset))  // BPF_LD, half word, absolute
      for port in ports {
        program.append(step(0x15, 0, 1, UInt32(port)))  // BPF_JEQ
        program.append(accept)
      }
    }
    return program + [step(0x06, 0, 0, 0)]
  }

  struct Death: Equatable {
    var local: Endpoint
    var remote: Endpoint
    var information: TCPInformation?
  }

  /// Reads what is there.
  /// - Returns: how often the kernel could not queue more.
  func drain(_ buffer: UnsafeMutableRawBufferPointer, _ body: (Death) -> Void) -> UInt64 {
    var gaps: UInt64 = 0
    while true {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == ENOBUFS {
        gaps += 1
        continue
      }
      guard count > 0 else { return gaps }
      Self.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]), body)
    }
  }

  static func parse(_ bytes: UnsafeRawBufferPointer, _ body: (Death) -> Void) {
    let header = MemoryLayout<nlmsghdr>.size
    var offset = 0
    while bytes.count - offset >= header {
      let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      guard length >= header, length <= bytes.count - offset else { return }
      let message = UnsafeRawBufferPointer(
        rebasing: bytes[(offset + header)..<(offset + length)])
      if let socket = DumpedSocket(message) {
        var death = Death(local: socket.local, remote: socket.remote)
        let attributes = message[MemoryLayout<inet_diag_msg>.size...]
        forEachAttribute(UnsafeRawBufferPointer(rebasing: attributes)) { type, value in
          if type == UInt16(INET_DIAG_INFO) { death.information = TCPInformation(value) }
        }
        body(death)
      }
      offset += (length + 3) & ~3
    }
  }
}

/// The fields of `struct tcp_info` that are asked for (include/uapi/linux/tcp.h). It grew over time;
/// what an older kernel does not send is nil.
struct TCPInformation: Equatable {
  var bytesAcknowledged: UInt64?
  var bytesReceived: UInt64?
  var sinceDataSent: TimeSpan?
  var sinceDataReceived: TimeSpan?
  var rtt: TimeSpan?
  var retransmissions: UInt32?

  init(_ bytes: UnsafeRawBufferPointer) {
    func word(_ offset: Int) -> UInt32? {
      offset + 4 <= bytes.count
        ? bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self) : nil
    }
    func long(_ offset: Int) -> UInt64? {
      offset + 8 <= bytes.count
        ? bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) : nil
    }
    func age(_ offset: Int, segments: Int) -> TimeSpan? {
      // Without a segment of data it is the age of the connection.
      guard let milliseconds = word(offset), word(segments) != 0 else { return nil }
      return .milliseconds(Int64(milliseconds))
    }
    bytesAcknowledged = long(120)
    bytesReceived = long(128)
    sinceDataSent = age(44, segments: 156)
    sinceDataReceived = age(52, segments: 152)
    rtt = word(68).flatMap { $0 == 0 ? nil : .microseconds(Int64($0)) }
    retransmissions = word(100)
  }
}
