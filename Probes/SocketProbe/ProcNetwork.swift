import Evidence
import Glibc
import LinuxHost

/// What a process's view of its network namespace says, as text: `/proc/PID/net`.
///
/// It is the way into namespaces that came into being after the right to enter them (CAP_SYS_ADMIN)
/// was dropped: anyone may read it. It costs more than netlink, and says nothing of a listener's
/// backlog.
struct ProcNetwork: Sendable {
  /// As `/proc/77/net`.
  let path: String

  /// Its TCP sockets of the wanted ports.
  /// - Throws: `ProbeError` when the process is gone.
  func sockets(ports: Set<UInt16>) throws -> [DumpedSocket] {
    var sockets: [DumpedSocket] = []
    Self.forEachLine(of: try readFile(path + "/tcp")) { line in
      if let socket = Self.socket(line, ports) { sockets.append(socket) }
    }
    // A kernel without IPv6 has no such file.
    if let bytes = try? readFile(path + "/tcp6") {
      Self.forEachLine(of: bytes) { line in
        if let socket = Self.socket(line, ports) { sockets.append(socket) }
      }
    }
    return sockets
  }

  /// The addresses that the namespace itself has.
  func addresses() -> Set<IPAddress> {
    var addresses: Set<IPAddress> = []
    // A routing trie: an address's line is followed by those of what it is.
    var last: IPAddress?
    Self.forEachLine(of: (try? readFile(path + "/fib_trie")) ?? []) { line in
      let words = line.split(separator: 32)
      if words.count == 2, words[0].elementsEqual("|--".utf8) {
        last = IPAddress(String(decoding: words[1], as: UTF8.self))
      } else if words.count == 3, words[0].elementsEqual("/32".utf8),
        words[1].elementsEqual("host".utf8), words[2].elementsEqual("LOCAL".utf8), let last
      {
        addresses.insert(last)
      }
    }
    Self.forEachLine(of: (try? readFile(path + "/if_inet6")) ?? []) { line in
      let digits = line.prefix { $0 != 32 }
      guard digits.count == 32, let high = hexadecimal(digits.prefix(16)),
        let low = hexadecimal(digits.suffix(16))
      else { return }
      addresses.insert(IPAddress(high: high, low: low))
    }
    return addresses
  }

  /// Reads a line of `/proc/net/tcp` or `tcp6` (net/ipv4/tcp_ipv4.c `tcp4_seq_show`); nil for one of
  /// other ports, without a holder, or that is none.
  static func socket(_ line: ArraySlice<UInt8>, _ ports: Set<UInt16>) -> DumpedSocket? {
    guard let socket = anySocket(line), SocketDump.states & 1 << UInt32(socket.state) != 0,
      ports.contains(socket.local.port) || ports.contains(socket.remote.port)
    else { return nil }
    return DumpedSocket(
      local: socket.local, remote: socket.remote, isListener: socket.isListener,
      inode: socket.inode, receiveQueue: socket.received, sendQueue: socket.sent, isV6Only: false)
  }

  /// A line of that file, as it stands.
  struct Line {
    var local: Endpoint
    var remote: Endpoint
    var state: UInt64
    var inode: UInt64
    var received: UInt32
    var sent: UInt32
    var isListener: Bool { Int32(state) == SocketDump.listen }
  }

  /// Reads a line, of whatever port and state.
  static func anySocket(_ line: ArraySlice<UInt8>) -> Line? {
    let words = line.split(separator: 32, maxSplits: 10)
    guard words.count >= 10, let local = endpoint(words[1]), let remote = endpoint(words[2]),
      let state = hexadecimal(words[3]), state < 32,
      let inode = UInt64(String(decoding: words[9], as: UTF8.self))
    else { return nil }
    let queues = words[4].split(separator: UInt8(ascii: ":"))
    guard queues.count == 2, let sent = hexadecimal(queues[0]),
      let received = hexadecimal(queues[1])
    else { return nil }
    return Line(
      local: local, remote: remote, state: state, inode: inode,
      received: UInt32(clamping: received), sent: UInt32(clamping: sent))
  }

  /// `0100007F:1F90`: words of 32 bits in the host's order, and a port.
  private static func endpoint(_ text: ArraySlice<UInt8>) -> Endpoint? {
    guard let colon = text.firstIndex(of: UInt8(ascii: ":")),
      let port = hexadecimal(text[(colon + 1)...]).flatMap({ UInt16(exactly: $0) })
    else { return nil }
    let digits = text[..<colon]
    var words: [UInt32] = []
    var start = digits.startIndex
    while start < digits.endIndex {
      guard digits.endIndex - start >= 8, let word = hexadecimal(digits[start..<(start + 8)]) else {
        return nil
      }
      words.append(UInt32(bigEndian: UInt32(truncatingIfNeeded: word)))
      start += 8
    }
    switch words.count {
    case 1: return Endpoint(address: IPAddress(v4: words[0]), port: port)
    case 4:
      let address = IPAddress(
        high: UInt64(words[0]) << 32 | UInt64(words[1]),
        low: UInt64(words[2]) << 32 | UInt64(words[3]))
      return Endpoint(address: address, port: port)
    default: return nil
    }
  }

  private static func forEachLine(of bytes: [UInt8], _ body: (ArraySlice<UInt8>) -> Void) {
    for line in bytes.split(separator: 10) { body(line) }
  }
}

/// A number of at most 16 hexadecimal digits, or nil.
func hexadecimal(_ digits: some Collection<UInt8>) -> UInt64? {
  guard !digits.isEmpty, digits.count <= 16 else { return nil }
  var value: UInt64 = 0
  for byte in digits {
    switch byte {
    case 48...57: value = value << 4 | UInt64(byte - 48)
    case 65...70: value = value << 4 | UInt64(byte - 55)
    case 97...102: value = value << 4 | UInt64(byte - 87)
    default: return nil
    }
  }
  return value
}
