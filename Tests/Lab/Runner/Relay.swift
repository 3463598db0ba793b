import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// A router between nginx and its backends: two TUN devices and a thread that carries packets from one
/// to the other, takes its time, and, like a firewall, forgets connections that are idle.
///
/// (A kernel's netem could delay, too; it is not in every kernel.)
final class Relay: Sendable {
  private let spec: Scenario.RelaySpec
  private let thread = Mutex<ProbeThread?>(nil)
  private let descriptors = Mutex<[Int32]>([])

  init(_ spec: Scenario.RelaySpec) { self.spec = spec }

  /// Makes `veth0` in both namespaces, and carries packets until `stop`.
  func start(nginx: Namespace, backends: Namespace) throws {
    let near = try nginx.run { try Self.openTUN("veth0") }
    descriptors.withLock { $0.append(near) }
    let far = try backends.run { try Self.openTUN("veth0") }
    descriptors.withLock { $0.append(far) }
    let started = try ProbeThread.start("lab-relay") { [spec] thread in
      var carrier = Carrier(spec: spec, near: near, far: far)
      while !thread.shouldStop {
        thread.waitReadable([near, far], milliseconds: carrier.milliseconds)
        carrier.work()
      }
    }
    thread.withLock { $0 = started }
  }

  func stop() {
    let ending = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    ending?.stop()
    let open = descriptors.withLock { descriptors in
      defer { descriptors = [] }
      return descriptors
    }
    for descriptor in open { close(descriptor) }
  }

  /// The device goes away with its descriptor.
  private static func openTUN(_ name: String) throws -> Int32 {
    let descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open /dev/net/tun", reason: errorText(errno))
    }
    // struct ifreq: a name of 16 bytes, then IFF_TUN | IFF_NO_PI (linux/if_tun.h).
    var request = [UInt8](repeating: 0, count: 40)
    request.replaceSubrange(0..<name.utf8.count, with: Array(name.utf8))
    request[16] = 0x01
    request[17] = 0x10
    let setInterface: UInt = 0x4004_54ca  // TUNSETIFF
    guard ioctl(descriptor, setInterface, &request) == 0 else {
      let reason = errorText(errno)
      close(descriptor)
      throw ProbeError(doing: "make a TUN device", reason: reason)
    }
    return descriptor
  }
}

/// The packets on their way. It belongs to the relay's thread.
private struct Carrier {
  let spec: Scenario.RelaySpec
  let near: Int32
  let far: Int32
  /// In order of arrival, which is that of departure.
  private var waiting: [(due: Int64, target: Int32, packet: [UInt8])] = []
  private var buffer = [UInt8](repeating: 0, count: 64 << 10)
  /// When a connection was used last, by nginx's and the backend's address and port.
  private var used: [UInt64: Int64] = [:]

  init(spec: Scenario.RelaySpec, near: Int32, far: Int32) {
    self.spec = spec
    self.near = near
    self.far = far
  }

  /// Until something is due; -1: nothing waits.
  var milliseconds: Int32 {
    waiting.first.map { Int32(max(0, $0.due - monotonicMilliseconds())) } ?? -1
  }

  mutating func work() {
    for (source, target) in [(near, far), (far, near)] {
      while true {
        let count = read(source, &buffer, buffer.count)
        guard count > 0 else { break }
        take(Array(buffer[..<count]), from: source, to: target)
      }
    }
    let now = monotonicMilliseconds()
    let due = waiting.prefix { $0.due <= now }
    for one in due { _ = write(one.target, one.packet, one.packet.count) }
    waiting.removeFirst(due.count)
  }

  private mutating func take(_ packet: [UInt8], from source: Int32, to target: Int32) {
    let now = monotonicMilliseconds()
    if let forget = spec.forget, packet.count >= 40, packet[0] == 0x45, packet[9] == 6 {
      let key = connection(packet, isFromNginx: source == near)
      let isOpening = packet[33] & 0x02 != 0
      if !isOpening, now - (used[key] ?? 0) > forget {
        if spec.resets, packet[33] & 0x04 == 0 { refuse(packet, to: source) }
        return
      }
      used[key] = now
    }
    waiting.append((now + spec.delay, target, packet))
  }

  private func connection(_ packet: [UInt8], isFromNginx: Bool) -> UInt64 {
    let (nginx, backend) = isFromNginx ? (20, 22) : (22, 20)
    let host = packet[isFromNginx ? 19 : 15]
    return UInt64(host) << 32 | UInt64(packet[nginx]) << 24 | UInt64(packet[nginx + 1]) << 16
      | UInt64(packet[backend]) << 8 | UInt64(packet[backend + 1])
  }

  /// A reset in the name of who is not asked.
  private func refuse(_ packet: [UInt8], to source: Int32) {
    func endpoint(_ address: Int, _ port: Int) -> Endpoint {
      Endpoint(
        address: IPAddress(
          v4: (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(packet[address + $1]) }),
        port: UInt16(packet[port]) << 8 | UInt16(packet[port + 1]))
    }
    let sequence = (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(packet[28 + $1]) }
    var reset = ForgedReset.reset(
      from: endpoint(16, 22), to: endpoint(12, 20), sequence: sequence, timeToLive: 255)
    // No kernel fills in this one's checksum.
    var sum = stride(from: 0, to: 20, by: 2).reduce(UInt32(0)) {
      $0 + UInt32(reset[$1]) << 8 + UInt32(reset[$1 + 1])
    }
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    reset[10] = UInt8(truncatingIfNeeded: ~sum >> 8)
    reset[11] = UInt8(truncatingIfNeeded: ~sum)
    _ = write(source, reset, reset.count)
  }
}
