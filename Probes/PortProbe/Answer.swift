import CLinux
import Evidence
import Glibc
import LinuxHost

/// What the network, or this host, answered to a connect that did not succeed.
enum Answer {
  static let refused = "connection refused"
  static let reset = "reset at once"
  static let closed = "closed at once"

  /// - Parameters:
  ///   - error: the connect's errno.
  ///   - descriptor: of the socket, whose error queue has the ICMP message if there was one.
  static func to(
    _ error: Int32, _ descriptor: Int32
  ) -> (outcome: PortCheck.Outcome, reason: String) {
    if let message = ICMPMessage(fromErrorQueueOf: descriptor) {
      return (.unreachable, message.description)
    }
    switch error {
    case ECONNREFUSED: return (.refused, refused)
    case ETIMEDOUT: return (.timeout, "no answer to any SYN")
    // A reset after the handshake: someone had accepted.
    case ECONNRESET, EPIPE: return (.reset, reset)
    default: return (.unreachable, atHome(error))
    }
  }

  /// Refused by this host's own routes and filters, without a packet sent.
  private static func atHome(_ error: Int32) -> String {
    let cause =
      switch error {
      case ENETUNREACH: "this host has no route to it"
      case EACCES: "a route of this host prohibits it"
      case EPERM: "a packet filter of this host forbids it"
      case EHOSTUNREACH: "this host's routes say unreachable"
      case EINVAL: "a route of this host drops it"
      default: "this host"
      }
    return "\(cause) (\(errorText(error)))"
  }
}

/// An ICMP error that ended a connect, from the socket's error queue (`IP_RECVERR`; the kernel keeps
/// it for a TCP socket in SYN_SENT since Linux 5.8).
struct ICMPMessage: CustomStringConvertible {
  private static let fromICMP = UInt8(SO_EE_ORIGIN_ICMP)
  private static let fromICMP6 = UInt8(SO_EE_ORIGIN_ICMP6)

  var isV6: Bool
  var type: UInt8
  var code: UInt8
  /// Who sent it.
  var offender: IPAddress?
  /// Whether this host sent it to itself: its neighbour did not answer ARP or neighbour discovery.
  var isOwn = false

  init?(fromErrorQueueOf descriptor: Int32) {
    var control = [UInt8](repeating: 0, count: 256)
    let length = control.withUnsafeMutableBytes { bytes in
      var message = msghdr()
      message.msg_control = bytes.baseAddress
      message.msg_controllen = bytes.count
      let result = recvmsg(descriptor, &message, Int32(MSG_ERRQUEUE | MSG_DONTWAIT))
      return result < 0 ? 0 : Int(message.msg_controllen)
    }
    guard length > 0, let found = Self.read(control[..<min(length, control.count)]) else {
      return nil
    }
    self = found
    isOwn = offender != nil && offender == localEndpoint(descriptor)?.address
  }

  init(isV6: Bool, type: UInt8, code: UInt8, offender: IPAddress?, isOwn: Bool = false) {
    self.isV6 = isV6
    self.type = type
    self.code = code
    self.offender = offender
    self.isOwn = isOwn
  }

  /// Walks the control messages (cmsg(3)): length, level, type, then the data, aligned to 8 bytes.
  private static func read(_ control: ArraySlice<UInt8>) -> Self? {
    let header = 16
    return control.withUnsafeBytes { bytes in
      var offset = 0
      while offset + header <= bytes.count {
        let length = bytes.loadUnaligned(fromByteOffset: offset, as: Int.self)
        guard length >= header, length <= bytes.count - offset else { return nil }
        let level = bytes.loadUnaligned(fromByteOffset: offset + 8, as: Int32.self)
        let type = bytes.loadUnaligned(fromByteOffset: offset + 12, as: Int32.self)
        let data = UnsafeRawBufferPointer(rebasing: bytes[offset + header..<offset + length])
        let isError =
          level == Int32(IPPROTO_IP) && type == IP_RECVERR
          || level == Int32(IPPROTO_IPV6) && type == IPV6_RECVERR
        if isError, let found = read(data) { return found }
        offset += (length + 7) & ~7
      }
      return nil
    }
  }

  /// A `sock_extended_err`, then the offender's address.
  private static func read(_ data: UnsafeRawBufferPointer) -> Self? {
    let size = MemoryLayout<sock_extended_err>.size
    guard data.count >= size else { return nil }
    let error = data.loadUnaligned(as: sock_extended_err.self)
    guard error.ee_origin == fromICMP || error.ee_origin == fromICMP6 else { return nil }
    let offender = endpoint(ofSocketAddress: UnsafeRawBufferPointer(rebasing: data[size...]))
    return Self(
      isV6: error.ee_origin == fromICMP6, type: error.ee_type, code: error.ee_code,
      offender: offender?.address)
  }

  var description: String {
    let who = offender.map { isOwn ? " from this host" : " from \($0)" } ?? ""
    let number = "\(isV6 ? "ICMPv6" : "ICMP") \(type)/\(code)"
    let home = isOwn ? ": no answer to \(isV6 ? "neighbour discovery" : "ARP")" : ""
    return "\(meaning)\(home) (\(number)\(who))"
  }

  /// RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1; RFC 4443 for IPv6.
  private var meaning: String {
    switch (isV6, type, code) {
    case (false, 3, 0), (false, 3, 6): "network unreachable"
    case (false, 3, 1), (false, 3, 7): "host unreachable"
    case (false, 3, 2): "protocol unreachable"
    case (false, 3, 3), (true, 1, 4): "port unreachable, a packet filter rejects it"
    case (false, 3, 9): "network administratively prohibited"
    case (false, 3, 10): "host administratively prohibited"
    case (false, 3, 13), (true, 1, 1): "administratively prohibited"
    case (false, 3, _): "destination unreachable"
    case (false, 11, _), (true, 3, _): "time to live exceeded on the way"
    case (false, 12, _), (true, 4, _): "parameter problem"
    case (true, 1, 0): "no route to destination"
    case (true, 1, 2): "beyond scope of source address"
    case (true, 1, 3): "address unreachable"
    case (true, 1, 5): "source address failed policy"
    case (true, 1, 6): "route rejects it"
    case (true, 2, _): "packet too big"
    default: "unreachable"
    }
  }
}
