public import Evidence

/// Asks for a path and tells the status and the time to the first byte of the answer.
public struct HTTPConversation: Conversation {
  private let request: [UInt8]
  private let timeout: TimeSpan
  private var asked: Int64 = 0
  private var reader = HTTPResponseReader()
  private var failure: String?
  private var ending: PortCheck.Outcome?
  /// Request sent to the first byte of the answer.
  public private(set) var timeToFirstByte: TimeSpan?
  /// The answer's status code.
  public var status: Int? { reader.status }

  /// - Parameters:
  ///   - path: as it stands in the request line; without blanks and controls.
  ///   - host: the `Host` header.
  ///   - timeout: for the first byte, and again for the rest.
  public init(path: String, host: String, timeout: TimeSpan) {
    request = Self.request(path: path, host: host, connection: "close")
    self.timeout = timeout
  }

  static func request(path: String, host: String, connection: String) -> [UInt8] {
    let text =
      "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nUser-Agent: upclose-sweep\r\nAccept: */*\r\n"
      + "Connection: \(connection)\r\n\r\n"
    return Array(text.utf8)
  }

  public mutating func begin(at now: Int64) -> ConversationStep {
    asked = now
    return .say(request, within: timeout)
  }

  public mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Int64) -> ConversationStep {
    if timeToFirstByte == nil { timeToFirstByte = TimeSpan(nanoseconds: max(1, now - asked)) }
    switch reader.take(bytes) {
    case .more: return .goOn
    // It was asked to close, and does so first: no TIME_WAIT here.
    case .complete: return .wait(min(timeout, .milliseconds(50)))
    case .notHTTP:
      failure = "the answer is not HTTP/1"
      return .done
    }
  }

  public mutating func end(_ ending: ConnectionEnding, at now: Int64) -> ConversationStep {
    if status == nil {
      self.ending = ending == .fin ? .closed : .reset
      failure = ending == .fin ? "closed without an answer" : "reset without an answer"
    }
    return .done
  }

  public mutating func expire(at now: Int64) -> ConversationStep {
    if status == nil { failure = "no HTTP answer in \(timeout)" }
    return .done
  }

  public var verdict: (outcome: PortCheck.Outcome, reason: String)? {
    failure.map { (ending ?? .open, $0) }
  }
}
