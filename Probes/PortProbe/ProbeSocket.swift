import Evidence
import Glibc
import LinuxHost

/// The socket calls of one connect.
enum ProbeSocket {
  enum Opened {
    case connecting(Int32)
    /// This host could not try (no descriptor, no port, no such address family, not its address):
    /// that says nothing about the target.
    case failed(Int32)
    /// This host's routes or filters said no.
    case refused(outcome: PortCheck.Outcome, reason: String)
  }

  /// Whether this host has an address to reach a target from: EADDRNOTAVAIL may as well mean that all
  /// its ports are taken. UDP has ports of its own, and its connect(2) sends nothing.
  private static func hasAddress(toReach target: Endpoint) -> Bool {
    let type = SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = socket(target.address.isV4 ? AF_INET : AF_INET6, Int32(type), 0)
    guard descriptor >= 0 else { return true }
    defer { close(descriptor) }
    let result = withSocketAddress(target) { Glibc.connect(descriptor, $0, $1) }
    return result == 0 || errno != EADDRNOTAVAIL
  }

  /// How far a connect has come.
  enum Progress {
    case pending
    case open(connectTime: Int64?)
    /// - Parameter connectTime: where it had been accepted.
    case failed(Int32, connectTime: Int64?)
  }

  /// - Parameter source: the address to connect from; nil: the kernel's choice.
  static func connect(to target: Endpoint, from source: IPAddress?) -> Opened {
    let isV4 = target.address.isV4
    let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    let descriptor = socket(isV4 ? AF_INET : AF_INET6, Int32(type), 0)
    guard descriptor >= 0 else { return .failed(errno) }
    // Keeps the ICMP message that says why.
    setOption(
      descriptor, isV4 ? Int32(IPPROTO_IP) : Int32(IPPROTO_IPV6),
      isV4 ? Int32(IP_RECVERR) : Int32(IPV6_RECVERR), 1)
    if let source {
      // Else each connect would hold a port of its own, and 28,000 targets were the end.
      setOption(descriptor, Int32(IPPROTO_IP), Int32(IP_BIND_ADDRESS_NO_PORT), 1)
      let own = Endpoint(address: source, port: 0)
      guard source.isV4 == isV4, withSocketAddress(own, { bind(descriptor, $0, $1) }) == 0 else {
        let error = source.isV4 == isV4 ? errno : EAFNOSUPPORT
        close(descriptor)
        return .failed(error)
      }
    }
    let result = withSocketAddress(target) { Glibc.connect(descriptor, $0, $1) }
    let error = result == 0 ? EINPROGRESS : errno
    switch error {
    case EINPROGRESS: return .connecting(descriptor)
    case EADDRNOTAVAIL where source == nil && !hasAddress(toReach: target):
      close(descriptor)
      return .refused(
        outcome: .unreachable,
        reason: "this host has no address to reach it from (\(errorText(error)))")
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EADDRINUSE:
      close(descriptor)
      return .failed(error)
    default:
      let answer = Answer.to(error, descriptor)
      close(descriptor)
      return .refused(outcome: answer.outcome, reason: answer.reason)
    }
  }

  /// The kernel measured the connect time when the SYN-ACK came; this thread may be late. When a SYN
  /// was repeated its figure is that of the last one and is not used.
  static func progress(of descriptor: Int32) -> Progress {
    var info = tcp_info()
    var size = socklen_t(MemoryLayout<tcp_info>.size)
    guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &size) == 0 else {
      return .failed(errno, connectTime: nil)
    }
    let isMeasured = info.tcpi_rtt > 0 && info.tcpi_total_retrans == 0
    let connectTime = isMeasured ? Int64(info.tcpi_rtt) * 1000 : nil
    switch Int(info.tcpi_state) {
    case synSent, synReceived: return .pending
    case closed:
      var error: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0 { error = errno }
      if error == 0 { error = ECONNRESET }
      return .failed(error, connectTime: error == ECONNREFUSED ? nil : connectTime)
    default: return .open(connectTime: connectTime)
    }
  }

  /// How often the SYN went out.
  static func synCount(_ descriptor: Int32) -> Int {
    var info = tcp_info()
    var size = socklen_t(MemoryLayout<tcp_info>.size)
    guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &size) == 0 else { return 1 }
    return Int(info.tcpi_total_retrans) + 1
  }

  /// Closes with a FIN. What the server said first is read before, since closing with unread data
  /// would send a reset.
  static func closePolitely(_ descriptor: Int32) {
    // With MSG_TRUNC TCP drops the bytes without copying them (tcp(7)). One that never stops talking
    // gets its reset.
    let flags = Int32(MSG_DONTWAIT | MSG_TRUNC)
    for _ in 0..<16 {
      if recv(descriptor, nil, 1 << 20, flags) <= 0 { break }
    }
    close(descriptor)
  }

  /// Closes with a reset: no TIME_WAIT stays on this host.
  static func closeHard(_ descriptor: Int32) {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
    close(descriptor)
  }

  private static func setOption(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32)
  {
    var value = value
    setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  // include/net/tcp_states.h
  private static let synSent = 2
  private static let synReceived = 3
  private static let closed = 7
}
