import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// The lab's own eye on the veth: on which connection each token travelled. It looks at requests on
/// their way, by a packet socket of its own, and knows nothing of closes.
final class Wire: Sendable {
  struct Sighting: Sendable {
    var port: UInt16
    var backend: IPAddress
    var time: Timestamp
  }

  private struct State {
    /// By token, in order.
    var requests: [String: [Sighting]] = [:]
    var opened: [Sighting] = []
    /// By nginx's port: what it has acknowledged last.
    var acknowledged: [UInt16: UInt32] = [:]
  }
  private let state = Mutex(State())
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameter namespace: nginx's, as `/run/netns/NAME`.
  func start(in namespace: String) throws {
    let descriptor = open(namespace, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open \(namespace)", reason: errorText(errno))
    }
    let ready = Ready()
    let started = try ProbeThread.start("lab-wire") { [self] thread in
      defer { close(descriptor) }
      guard clinux_setns(descriptor, clinux_CLONE_NEWNET) == 0, let wire = Self.openSocket() else {
        ready.state.store(2, ordering: .releasing)
        return
      }
      ready.state.store(1, ordering: .releasing)
      defer { close(wire) }
      run(thread, wire)
    }
    thread.withLock { $0 = started }
    try wait(until: "the wire is watched") { ready.state.load(ordering: .acquiring) != 0 }
    guard ready.state.load(ordering: .acquiring) == 1 else {
      throw ProbeError(doing: "open a packet socket", reason: "it was refused")
    }
  }

  private final class Ready: Sendable { let state = Atomic<Int>(0) }

  func stop() {
    let ending = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    ending?.stop()
  }

  /// Where a token's bytes went to this backend; nil when none did.
  func port(of token: String, to backend: IPAddress) -> UInt16? {
    state.withLock { $0.requests[token]?.first { $0.backend == backend }?.port }
  }

  func sightings(of token: String) -> [Sighting] { state.withLock { $0.requests[token] ?? [] } }

  /// The sequence number that nginx expects next on a connection.
  func expected(on port: UInt16) -> UInt32? { state.withLock { $0.acknowledged[port] } }

  /// Ports from which a connection to this backend was opened in that time.
  func opened(to backend: IPAddress, from begin: Timestamp, to end: Timestamp) -> Set<UInt16> {
    state.withLock { state in
      Set(
        state.opened.lazy.filter {
          $0.backend == backend && begin.nanoseconds - 20_000_000 <= $0.time.nanoseconds
            && $0.time.nanoseconds <= end.nanoseconds + 20_000_000
        }.map(\.port))
    }
  }

  private static func openSocket() -> Int32? {
    let everything = UInt16(3).bigEndian
    let wire = socket(
      AF_PACKET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), Int32(everything))
    guard wire >= 0 else { return nil }
    var size: Int32 = 32 << 20
    let force: Int32 = 33  // SO_RCVBUFFORCE, asm-generic/socket.h
    setsockopt(wire, SOL_SOCKET, force, &size, socklen_t(MemoryLayout<Int32>.size))
    return wire
  }

  private func run(_ thread: ProbeThread, _ wire: Int32) {
    var packet = [UInt8](repeating: 0, count: 64 << 10)
    while !thread.shouldStop {
      guard thread.waitReadable([wire], milliseconds: 200).contains(wire) else { continue }
      while true {
        let count = recv(wire, &packet, packet.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { break }
        look(packet[..<count], at: Self.stamp(wire))
      }
    }
  }

  /// When the kernel took the packet that was read last; this thread may be late.
  private static func stamp(_ wire: Int32) -> Timestamp {
    var time = timespec()
    let lastPacket: UInt = 0x8907  // SIOCGSTAMPNS, asm-generic/sockios.h
    guard ioctl(wire, lastPacket, &time) == 0 else { return currentTime() }
    return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  /// IPv4, TCP, towards a backend.
  private func look(_ packet: ArraySlice<UInt8>, at time: Timestamp) {
    guard packet.count >= 40, packet[0] >> 4 == 4, packet[9] == 6 else { return }
    let tcp = Int(packet[0] & 15) * 4
    guard packet.count >= tcp + 20, packet[12] == 10, packet[16] == 10, packet[19] != 1 else {
      return
    }
    let address = (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(packet[16 + $1]) }
    let sighting = Sighting(
      port: UInt16(packet[tcp]) << 8 | UInt16(packet[tcp + 1]), backend: IPAddress(v4: address),
      time: time)
    if packet[tcp + 13] & 0x10 != 0 {
      let number = (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(packet[tcp + 8 + $1]) }
      state.withLock { $0.acknowledged[sighting.port] = number }
    }
    if packet[tcp + 13] & 0x12 == 0x02 { state.withLock { $0.opened.append(sighting) } }
    let data = tcp + Int(packet[tcp + 12] >> 4) * 4
    let end = min(packet.count, Int(packet[2]) << 8 + Int(packet[3]))
    guard data < end, let token = Self.token(in: packet[data..<end]) else { return }
    state.withLock { state in
      // A retransmission is the same try.
      if state.requests[token]?.last?.port != sighting.port {
        state.requests[token, default: []].append(sighting)
      }
    }
  }

  /// The first `labNxNz`.
  static func token(in bytes: ArraySlice<UInt8>) -> String? {
    var index = bytes.startIndex
    while index + 5 < bytes.endIndex {
      if bytes[index] == UInt8(ascii: "l"), bytes[index + 1] == UInt8(ascii: "a"),
        bytes[index + 2] == UInt8(ascii: "b"), isDigit(bytes[index + 3])
      {
        var end = index + 4
        while end < bytes.endIndex, isDigit(bytes[end]) || bytes[end] == UInt8(ascii: "x") {
          end += 1
        }
        if end < bytes.endIndex, bytes[end] == UInt8(ascii: "z") {
          return String(decoding: bytes[index...end], as: UTF8.self)
        }
      }
      index += 1
    }
    return nil
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    UInt8(ascii: "0") <= byte && byte <= UInt8(ascii: "9")
  }
}
