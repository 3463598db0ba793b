import Correlator
import Evidence

extension Connection {
  /// As `the backend closed by FIN, idle for 5.00 s`.
  var closeInWords: String {
    CloseWords.sentence(
      closer: closer, manner: manner, phase: phase, idleBeforeClose: idleBeforeClose)
      + (requestAfterFIN ? "; a request was sent behind its FIN" : "")
  }

  func words(of reset: Reset) -> String {
    let isResponder = reset == responderReset
    let who = isResponder ? "the backend" : "nginx"
    switch reset.manner {
    case .passiveReset: return "RST from \(who)'s kernel: no socket there any more"
    case .refused: return "RST to the SYN: nothing listens"
    default: return "RST from \(who): its own socket aborted"
    }
  }
}

/// Who closed, how and when, in words.
enum CloseWords {
  /// As `backend closed by FIN, awaiting the response`.
  static func sentence(
    closer: Closer, manner: Manner?, phase: Phase, idleBeforeClose: TimeSpan?,
    originator: String = "nginx"
  ) -> String {
    let who =
      switch closer {
      case .originator: "\(originator) closed"
      case .responder: "backend closed"
      case .middlebox: "something in between closed"
      case .unknown: "closed by nobody known"
      case .none: "still open"
      }
    let how =
      switch manner {
      case .fin: " by FIN"
      case .activeReset: " by RST (its own socket's)"
      case .passiveReset: " by RST (no socket there)"
      case .refused: " by RST to the SYN"
      case .timeout: " (no answer)"
      case nil: ""
      }
    let when =
      switch phase {
      case .connecting: ", connecting"
      case .tlsHandshake: ", in the TLS handshake"
      case .idle: idleBeforeClose.map { ", idle for \($0)" } ?? ", idle"
      case .sendingRequest: ", while the request was sent"
      case .awaitingResponse: ", awaiting the response"
      case .receivingResponse: ", within the response"
      case .unknown: ""
      }
    return who + how + when
  }
}

extension ProcessExit {
  var summary: String {
    let how =
      if let signal { "was ended by signal \(signal)" } else if let code {
        "exited with code \(code)"
      } else { "ended" }
    return "\(process.command) (pid \(process.pid)) \(how)"
  }
}

extension SignalSent {
  var summary: String {
    let sender = sender.map { " by \($0.command) (pid \($0.pid))" } ?? " by the kernel"
    return "signal \(signal) was sent to \(target.command) (pid \(target.pid))\(sender)"
  }
}

extension Fix {
  /// As `keepalive_timeout 4s;`, or the directive alone where its value is up to the reader; nil when
  /// no directive helps.
  var line: String? {
    directive.map { directive in value.map { "\(directive) \($0);" } ?? directive }
  }
}

extension CauseID {
  /// What people call it.
  var title: String {
    switch self {
    case .staleKeepalive: "stale keepalive race"
    case .requestLimit: "request-count limit of the backend"
    case .workerRecycle: "worker recycled"
    case .masterTimeout: "killed by its own master's time-out"
    case .killed: "killed by another process"
    case .exited: "backend exited by itself"
    case .restart: "restart or deploy"
    case .nginxReload: "reload of nginx"
    case .oomKill: "out-of-memory kill"
    case .crash: "crash"
    case .closedWithoutResponse: "closed without a response"
    case .headerTooLarge: "request header too large"
    case .bodyTooLarge: "request body too large or unread"
    case .schemeMismatch: "scheme mismatch (http and https)"
    case .conntrack: "connection tracking"
    case .middlebox: "middlebox"
    case .notListening: "nothing listens"
    case .acceptQueueOverflow: "accept queue overflow"
    case .nginxLimits: "limits of nginx"
    case .nginxClosedFirst: "nginx gave up first"
    case .peersDisabled: "all peers disabled"
    case .truncatedResponse: "truncated response"
    case .changedDefaults: "changed defaults"
    case .unreachable: "unreachable"
    case .nameResolution: "name resolution"
    case .tlsFailure: "TLS failure"
    case .invalidResponse: "invalid response"
    case .unknown: "unknown cause"
    }
  }
}
