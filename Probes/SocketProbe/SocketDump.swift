import CLinux
import Evidence
import Glibc

/// A TCP socket as the kernel's socket diagnosis tells it.
struct DumpedSocket: Equatable {
  var local: Endpoint
  var remote: Endpoint
  var isListener: Bool
  var inode: UInt64
  /// For a listener, connections that wait to be accepted; else unread bytes.
  var receiveQueue: UInt32
  /// For a listener, how many may wait; else bytes not acknowledged.
  var sendQueue: UInt32
  /// An IPv6 listener that takes no IPv4 connections.
  var isV6Only: Bool
}

extension DumpedSocket {
  /// Reads a `struct inet_diag_msg` and the attributes behind it.
  init?(_ bytes: UnsafeRawBufferPointer) {
    let size = MemoryLayout<inet_diag_msg>.size
    guard bytes.count >= size else { return nil }
    let message = bytes.loadUnaligned(as: inet_diag_msg.self)
    let isV6 = Int32(message.idiag_family) == AF_INET6
    guard isV6 || Int32(message.idiag_family) == AF_INET else { return nil }
    // struct inet_diag_sockid: two ports, two addresses of 16 bytes, all in network order.
    func address(_ offset: Int) -> IPAddress {
      if isV6 {
        return IPAddress(
          high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
          low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
      }
      return IPAddress(
        v4: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }
    local = Endpoint(address: address(8), port: UInt16(bigEndian: message.id.idiag_sport))
    remote = Endpoint(address: address(24), port: UInt16(bigEndian: message.id.idiag_dport))
    isListener = Int32(message.idiag_state) == SocketDump.listen
    inode = UInt64(message.idiag_inode)
    receiveQueue = message.idiag_rqueue
    sendQueue = message.idiag_wqueue
    isV6Only = false
    forEachAttribute(UnsafeRawBufferPointer(rebasing: bytes[size...])) { type, value in
      if type == UInt16(INET_DIAG_SKV6ONLY) { isV6Only = value.first == 1 }
    }
  }
}

/// Walks netlink attributes (`struct nlattr`: length and type, 16 bits each).
func forEachAttribute(
  _ bytes: UnsafeRawBufferPointer, _ body: (UInt16, UnsafeRawBufferPointer) -> Void
) {
  var offset = 0
  while bytes.count - offset >= 4 {
    let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    let type = bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self)
    guard length >= 4, length <= bytes.count - offset else { return }
    body(
      type & 0x3fff, UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + length)]))
    offset += (length + 3) & ~3
  }
}

/// The request for a dump of TCP sockets.
///
/// It is the first form of the interface (TCPDIAG_GETSOCK, include/uapi/linux/inet_diag.h): unlike
/// SOCK_DIAG_BY_FAMILY it gives IPv4 and IPv6 in one walk over the kernel's tables, which is what
/// a dump costs, however few sockets match.
enum SocketDump {
  static let type: UInt16 = 18  // TCPDIAG_GETSOCK
  static let listen: Int32 = 10

  /// States in which a process holds the socket: SYN_SENT, ESTABLISHED, FIN_WAIT1 and 2,
  /// CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING (include/net/tcp_states.h).
  static let states: UInt32 =
    1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << UInt32(listen) | 1 << 11

  /// More ports than this are not filtered in the kernel: offsets in its programs are 16 bits wide.
  static let mostFilteredPorts = 512

  /// - Parameter ports: a socket with one of them at either end is wanted.
  static func request(ports: some Collection<UInt16>) -> [UInt8] {
    // struct inet_diag_req: family, lengths of addresses, extensions, socket id, states, dbs.
    var payload = [UInt8](repeating: 0, count: 4 + 48)
    payload += littleOrBig(states)
    payload += littleOrBig(UInt32(0))
    guard !ports.isEmpty, ports.count <= mostFilteredPorts else { return payload }
    let program = program(ports: ports)
    payload += littleOrBig(UInt16(program.count + 4))
    payload += littleOrBig(UInt16(INET_DIAG_REQ_BYTECODE))
    return payload + program
  }

  /// A program of `struct inet_diag_bc_op` (code, offset if so, offset if not): accepted is what
  /// ends exactly at the program's end, refused what jumps beyond it. Ports are compared by two
  /// orders, since equality is younger than Linux 5.
  static func program(ports: some Collection<UInt16>) -> [UInt8] {
    func operation(_ code: Int, yes: Int, no: Int) -> [UInt8] {
      [UInt8(code), UInt8(yes)] + littleOrBig(UInt16(no))
    }
    let testSize = 20
    let size = ports.count * 2 * testSize + 4
    var program: [UInt8] = []
    program.reserveCapacity(size)
    for port in ports {
      for (atLeast, atMost) in [
        (INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE), (INET_DIAG_BC_D_GE, INET_DIAG_BC_D_LE),
      ] {
        program += operation(Int(atLeast), yes: 8, no: testSize)
        program += operation(0, yes: 0, no: Int(port))
        program += operation(Int(atMost), yes: 8, no: testSize - 8)
        program += operation(0, yes: 0, no: Int(port))
        program += operation(Int(INET_DIAG_BC_JMP), yes: 4, no: size - program.count)
      }
    }
    return program + operation(Int(INET_DIAG_BC_JMP), yes: 4, no: 8)
  }

  private static func littleOrBig(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value) { Array($0) }
  }
}
