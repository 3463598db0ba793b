public import Evidence

/// Measures the two numbers that the keepalive race depends on: after how many requests a backend
/// closes a connection (N), and after how long an idle time (T).
///
/// Requests follow one another on a connection until the backend closes it, which gives N, or
/// `mostRequests` were answered. Then one connection (the same one, or a new one after one request)
/// is left idle until the backend closes it, which gives T.
public struct KeepaliveConversation: Conversation {
  /// What was found.
  public struct Finding: Hashable, Sendable {
    /// Requests after which it closes a connection; nil: more than were made, or it answers none.
    public var requests: Int?
    /// Requests that were answered on the first connection.
    public var answered = 0
    /// Idle time after which it closes; nil: it did not within the limit.
    public var idleTimeout: TimeSpan?
    /// How long it was left idle.
    public var idle = TimeSpan.zero
    public var endedWith: ConnectionEnding?
    /// Why one of the numbers is missing or doubtful.
    public var notes: [String] = []
    /// Whether it stands: no second number will follow.
    public var isComplete = false
  }

  private enum Part {
    case counting
    /// On the connection that is left idle: one request goes before.
    case priming
    case idling
  }

  private let request: [UInt8]
  private let timeout: TimeSpan
  private let mostRequests: Int
  private let longestIdle: TimeSpan
  private var part = Part.counting
  private var reader = HTTPResponseReader()
  /// When the last byte went in either direction.
  private var lastWord: Int64 = 0
  public private(set) var finding = Finding()

  /// - Parameters:
  ///   - path: of the requests.
  ///   - mostRequests: on one connection, at least 1.
  ///   - longestIdle: how long a close of the idle connection is waited for.
  ///   - timeout: for each answer.
  public init(
    path: String, host: String, mostRequests: Int, longestIdle: TimeSpan, timeout: TimeSpan
  ) {
    request = HTTPConversation.request(path: path, host: host, connection: "keep-alive")
    self.timeout = timeout
    self.mostRequests = max(1, mostRequests)
    self.longestIdle = longestIdle
  }

  public mutating func begin(at now: Int64) -> ConversationStep {
    reader = HTTPResponseReader()
    return ask(at: now)
  }

  private mutating func ask(at now: Int64) -> ConversationStep {
    lastWord = now
    return .say(request, within: timeout)
  }

  public mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Int64) -> ConversationStep {
    lastWord = now
    if case .idling = part { return .goOn }
    switch reader.take(bytes) {
    case .more: return .goOn
    case .notHTTP:
      finding.notes.append("it does not speak HTTP/1, so requests cannot be counted")
      return idle(at: now)
    case .complete(let keepsAlive):
      if case .priming = part { return keepsAlive ? idle(at: now) : closesEachTime(at: now) }
      finding.answered += 1
      // It said so; the FIN is on its way.
      if !keepsAlive { return counted(at: now) }
      if finding.answered < mostRequests { return ask(at: now) }
      return idle(at: now)
    }
  }

  private mutating func closesEachTime(at now: Int64) -> ConversationStep {
    let status = reader.status.map { " (status \($0))" } ?? ""
    finding.notes.append("it closes after every request\(status), so there is no idle time")
    return finish()
  }

  /// The first connection's end is known.
  private mutating func counted(at now: Int64) -> ConversationStep {
    finding.requests = finding.answered
    if finding.answered <= 1 { return closesEachTime(at: now) }
    part = .priming
    return .reconnect
  }

  private mutating func idle(at now: Int64) -> ConversationStep {
    part = .idling
    return .wait(longestIdle)
  }

  public mutating func end(_ ending: ConnectionEnding, at now: Int64) -> ConversationStep {
    let quiet = TimeSpan(nanoseconds: now - lastWord)
    switch part {
    case .counting where finding.answered > 0:
      if !reader.isBetween, !reader.endsWithConnection {
        finding.notes.append("it closed within an answer")
      } else if reader.endsWithConnection {
        finding.answered += 1
      }
      return counted(at: now)
    case .counting where reader.endsWithConnection:
      finding.answered = 1
      return counted(at: now)
    case .counting, .priming:
      // It never answered; what it waited for is its patience with a request.
      finding.notes.append("it closed without an answer")
      finding.idleTimeout = quiet
      finding.idle = quiet
      finding.endedWith = ending
    case .idling:
      finding.idleTimeout = quiet
      finding.idle = quiet
      finding.endedWith = ending
    }
    return finish()
  }

  public mutating func expire(at now: Int64) -> ConversationStep {
    switch part {
    case .counting, .priming:
      let counted = finding.answered > 0 ? "request \(finding.answered + 1)" : "the request"
      finding.notes.append("\(counted) was not answered within \(timeout)")
      return idle(at: now)
    case .idling:
      finding.idle = TimeSpan(nanoseconds: now - lastWord)
      return finish()
    }
  }

  private mutating func finish() -> ConversationStep {
    finding.isComplete = true
    return .done
  }

  public var verdict: (outcome: PortCheck.Outcome, reason: String)? { nil }
}
