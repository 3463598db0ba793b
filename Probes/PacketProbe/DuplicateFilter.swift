import CaptureFile
import Evidence

/// Recognises a packet that a second interface saw as well (a bridge and its veth, on `any`).
///
/// Two packets are one when addresses, ports, sequence, acknowledgement, flags, window, IP
/// identification, length and options are equal, the interfaces differ, and they are microseconds
/// apart. The time to live may differ: a host that routes between the two interfaces lowers it. A
/// retransmission comes on the same interface and is never taken for a copy.
struct DuplicateFilter: ~Copyable {
  private let window: Int64
  private var seen: UnsafeMutablePointer<Seen>
  private static let slots = 4096

  private struct Seen {
    var fingerprint: UInt64 = 0
    var time: Int64 = .min
    var interface: UInt32 = 0
  }

  init(window: TimeSpan?) {
    self.window = window?.nanoseconds ?? -1
    seen = .allocate(capacity: Self.slots)
    seen.initialize(repeating: Seen(), count: Self.slots)
  }

  deinit { seen.deallocate() }

  /// A single interface sees nothing twice; only "cooked" captures and files of several can.
  private(set) var severalInterfaces = false

  mutating func isDuplicate(_ segment: UnsafePointer<Segment>, _ packet: CapturedPacket) -> Bool {
    if packet.interface > 0 { severalInterfaces = true }
    let isCooked = packet.linkType == .linuxSLL2 || packet.linkType == .linuxSLL
    guard window >= 0, isCooked || severalInterfaces else { return false }
    return check(segment)
  }

  private mutating func check(_ segment: UnsafePointer<Segment>) -> Bool {
    let fingerprint = Self.fingerprint(segment)
    let slot = seen + Int(fingerprint >> 52)
    let old = slot.pointee
    if old.fingerprint == fingerprint, old.interface != segment.pointee.interface,
      (segment.pointee.time &- old.time).magnitude <= window.magnitude
    {
      return true
    }
    slot.pointee = Seen(
      fingerprint: fingerprint, time: segment.pointee.time, interface: segment.pointee.interface)
    return false
  }

  private static func fingerprint(_ segment: UnsafePointer<Segment>) -> UInt64 {
    var hash: UInt64 = 0x51_7c_c1_b7_27_22_0a_95
    func mix(_ value: UInt64) {
      let product = (hash ^ value).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
      hash = product.high ^ product.low
    }
    mix(segment.pointee.source.high)
    mix(segment.pointee.source.low)
    mix(segment.pointee.destination.high)
    mix(segment.pointee.destination.low)
    mix(UInt64(segment.pointee.sequence) << 32 | UInt64(segment.pointee.acknowledgement))
    mix(
      UInt64(segment.pointee.sourcePort) << 48 | UInt64(segment.pointee.destinationPort) << 32
        | UInt64(segment.pointee.window) << 16 | UInt64(segment.pointee.flags.rawValue))
    mix(UInt64(segment.pointee.payloadLength) << 32 | UInt64(segment.pointee.identification))
    // IPv6 has no identification; a retransmission's timestamps differ.
    guard segment.pointee.identification == 0 else { return hash }
    var offset = 0
    while offset + 8 <= segment.pointee.options.count {
      mix(segment.pointee.options.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    return hash
  }
}
