import Evidence
import Glibc
import LinuxHost

/// One TCP connect, from the SYN to what came of it.
struct ConnectAttempt {
  let target: Endpoint
  let descriptor: Int32
  /// CLOCK_MONOTONIC, in nanoseconds.
  let began: Int64
  let deadline: Int64
  private let source: Endpoint?

  enum Start {
    case pending(ConnectAttempt)
    case finished(PortCheck)
    /// This host could not try; that says nothing about the target.
    case failed(Int32)
  }

  /// - Parameters:
  ///   - timeout: in nanoseconds.
  static func start(_ target: Endpoint, timeout: Int64) -> Start {
    let family = target.address.isV4 ? AF_INET : AF_INET6
    let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    let descriptor = socket(family, Int32(type), 0)
    guard descriptor >= 0 else { return .failed(errno) }
    let began = monotonic()
    let result = withSocketAddress(target) { connect(descriptor, $0, $1) }
    let error = result == 0 ? 0 : errno
    let attempt = ConnectAttempt(
      target: target, descriptor: descriptor, began: began, deadline: began + timeout,
      source: localEndpoint(descriptor))
    switch error {
    case EINPROGRESS:
      return .pending(attempt)
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN:
      close(descriptor)
      return .failed(error)
    default:
      // Over the loopback, or refused by this host's own routes, all is decided at once.
      return .finished(attempt.finish(error))
    }
  }

  /// What became of it, once its descriptor is writable.
  func finish() -> PortCheck {
    var error: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0 { error = errno }
    return finish(error)
  }

  /// It took too long. Closing a socket that has only sent SYNs sends nothing.
  func expire() -> PortCheck {
    close(descriptor)
    let waited = TimeSpan(nanoseconds: deadline - began)
    return PortCheck(
      target: target, outcome: .timeout, reason: "no answer in \(waited)", source: source)
  }

  private func finish(_ error: Int32) -> PortCheck {
    defer { close(descriptor) }
    var check = PortCheck(target: target, outcome: .open, source: source)
    guard error != 0 else {
      check.connectTime = connectTime()
      check.source = source ?? localEndpoint(descriptor)
      if let early = earlyEnd() {
        check.outcome = early.outcome
        check.reason = early.reason
      }
      return check
    }
    check.reason = errorText(error)
    check.outcome =
      switch error {
      case ECONNREFUSED: .refused
      case ETIMEDOUT: .timeout
      case ECONNRESET: .reset
      // A route, a gateway or this host's own packet filter says no.
      default: .unreachable
      }
    return check
  }

  /// The kernel measured it when the SYN-ACK came; this thread may have been late. Its figure is not
  /// used when a SYN was repeated, for then it measures the last.
  private func connectTime() -> TimeSpan {
    let elapsed = TimeSpan(nanoseconds: Self.monotonic() - began)
    var info = tcp_info()
    var size = socklen_t(MemoryLayout<tcp_info>.size)
    guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &size) == 0,
      info.tcpi_rtt > 0, info.tcpi_total_retrans == 0
    else { return elapsed }
    return min(.microseconds(Int64(info.tcpi_rtt)), elapsed)
  }

  /// Whether the other side has already ended it. What a server says first (a banner) is read, since
  /// closing with unread data would send a reset in place of a FIN.
  private func earlyEnd() -> (outcome: PortCheck.Outcome, reason: String)? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    for _ in 0..<16 {
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count == 0 { return (.closed, "closed at once") }
      if count < 0 { return errno == ECONNRESET ? (.reset, errorText(ECONNRESET)) : nil }
    }
    return nil
  }

  static func monotonic() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
