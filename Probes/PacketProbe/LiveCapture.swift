import CPcap
import CaptureFile
import Evidence
import Glibc

/// Owns a pcap handle that captures without blocking.
struct LiveCapture: ~Copyable {
  private let handle: OpaquePointer
  let descriptor: Int32
  let linkType: LinkType

  struct Settings: Sendable {
    var device: String
    var snapLength: Int32
    var bufferSize: Int32
  }

  /// Opens a device with nanosecond stamps, no promiscuous mode, and immediate delivery.
  ///
  /// That makes libpcap use TPACKET_V2: a packet is readable within 0.1 ms, so that what was captured
  /// before a drain has been seen after it. The blocks of TPACKET_V3 (8 ms) cost the same CPU a
  /// request beside a saturated nginx, since the ring is drained by the clock and not packet by
  /// packet (Tests/Benchmarks/live), and bring no more than their delay.
  /// - Parameter filter: gets whether the capture is of all interfaces, with "cooked" headers.
  static func open(
    _ settings: Settings, filter: (_ isCooked: Bool) -> String
  ) throws(ProbeError) -> LiveCapture {
    let doing = "capture on \(settings.device)"
    var text = [CChar](repeating: 0, count: Int(PCAP_ERRBUF_SIZE))
    guard let handle = pcap_create(settings.device, &text) else {
      let reason = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
      throw ProbeError(doing: doing, reason: reason)
    }
    do throws(ProbeError) {
      return try configure(handle, settings, filter: filter, doing: doing)
    } catch {
      pcap_close(handle)
      throw error
    }
  }

  private static func configure(
    _ handle: OpaquePointer, _ settings: Settings, filter: (Bool) -> String, doing: String
  ) throws(ProbeError) -> LiveCapture {
    pcap_set_snaplen(handle, settings.snapLength)
    pcap_set_promisc(handle, 0)
    pcap_set_buffer_size(handle, settings.bufferSize)
    pcap_set_immediate_mode(handle, 1)
    // Refused only where the kernel has no nanoseconds; then stamps are multiplied below.
    pcap_set_tstamp_precision(handle, PCAP_TSTAMP_PRECISION_NANO)
    let result = pcap_activate(handle)
    guard result >= 0 else { throw activationError(handle, result, doing) }
    // The interface's index is in this header only; before the filter, which depends on it.
    let cooked = Int32(DLT_LINUX_SLL2)
    if pcap_datalink(handle) == Int32(DLT_LINUX_SLL) { pcap_set_datalink(handle, cooked) }
    try setFilter(handle, filter(pcap_datalink(handle) == cooked), doing)
    var text = [CChar](repeating: 0, count: Int(PCAP_ERRBUF_SIZE))
    let descriptor = pcap_get_selectable_fd(handle)
    guard pcap_setnonblock(handle, 1, &text) == 0, descriptor >= 0 else {
      throw ProbeError(doing: doing, reason: message(handle))
    }
    if settings.device == "lo" { ignoreOutgoing(descriptor) }
    return LiveCapture(
      handle: handle, descriptor: descriptor,
      linkType: LinkType(rawValue: UInt32(bitPattern: pcap_datalink(handle))))
  }

  /// On the loopback each packet goes out and comes in; libpcap leaves one of the two out only after
  /// the kernel has copied both. On `any` the filter does this. Kernels before 4.20 cannot.
  private static func ignoreOutgoing(_ descriptor: Int32) {
    // SOL_PACKET and PACKET_IGNORE_OUTGOING of linux/if_packet.h.
    var yes: Int32 = 1
    _ = setsockopt(descriptor, 263, 23, &yes, socklen_t(MemoryLayout<Int32>.size))
  }

  private init(handle: OpaquePointer, descriptor: Int32, linkType: LinkType) {
    self.handle = handle
    self.descriptor = descriptor
    self.linkType = linkType
  }

  deinit { pcap_close(handle) }

  private static func message(_ handle: OpaquePointer) -> String {
    pcap_geterr(handle).map { String(cString: $0) } ?? "unknown error"
  }

  private static func activationError(
    _ handle: OpaquePointer, _ result: Int32, _ doing: String
  ) -> ProbeError {
    let detail = message(handle)
    let general = pcap_statustostr(result).map { String(cString: $0) } ?? "error \(result)"
    let reason = detail.isEmpty ? general : detail
    switch result {
    case PCAP_ERROR_PERM_DENIED:
      return ProbeError(
        doing: doing, reason: reason,
        remedy: "run it as root, or give it the right once: setcap cap_net_raw=ep upclose")
    case PCAP_ERROR_NO_SUCH_DEVICE:
      return ProbeError(
        doing: doing, reason: reason,
        remedy: "`ip link` lists the interfaces, and `any` stands for all of them")
    case PCAP_ERROR_IFACE_NOT_UP:
      return ProbeError(doing: doing, reason: reason, remedy: "bring it up with `ip link set`")
    default: return ProbeError(doing: doing, reason: reason)
    }
  }

  private static func setFilter(
    _ handle: OpaquePointer, _ expression: String, _ doing: String
  ) throws(ProbeError) {
    var program = bpf_program()
    guard pcap_compile(handle, &program, expression, 1, UInt32.max) == 0 else {
      throw ProbeError(doing: doing, reason: "filter '\(expression)': \(message(handle))")
    }
    let result = pcap_setfilter(handle, &program)
    pcap_freecode(&program)
    if result != 0 {
      throw ProbeError(doing: doing, reason: "filter '\(expression)': \(message(handle))")
    }
  }

  /// Replaces the kernel's filter.
  func replaceFilter(_ expression: String) throws(ProbeError) {
    try Self.setFilter(handle, expression, "replace the capture filter")
  }

  /// Hands over what has arrived.
  /// - Returns: how many packets; negative on an error, as when the interface is gone.
  func dispatch(
    _ callback: pcap_handler, _ context: UnsafeMutableRawPointer, most: Int32
  ) -> Int32 {
    pcap_dispatch(handle, most, callback, context.assumingMemoryBound(to: UInt8.self))
  }

  /// All interfaces at once.
  var isCooked: Bool { linkType == .linuxSLL2 }

  var errorMessage: String { Self.message(handle) }

  /// Packets that the ring had no room for, and that the interface dropped, since it was opened.
  var drops: (kernel: UInt64, interface: UInt64) {
    var statistics = pcap_stat()
    guard pcap_stats(handle, &statistics) == 0 else { return (0, 0) }
    return (UInt64(statistics.ps_drop), UInt64(statistics.ps_ifdrop))
  }

  /// Whether `tv_usec` holds nanoseconds.
  var hasNanoseconds: Bool {
    pcap_get_tstamp_precision(handle) == PCAP_TSTAMP_PRECISION_NANO
  }
}
