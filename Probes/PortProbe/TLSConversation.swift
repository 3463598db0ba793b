public import Evidence

/// Asks a port whether it speaks TLS: sends a ClientHello and looks at what comes back.
public struct TLSConversation: Conversation {
  private let serverName: String?
  private let timeout: TimeSpan
  private var bytes: [UInt8] = []
  public private(set) var reply: TLSReply?

  /// - Parameters:
  ///   - serverName: for SNI; nil for a bare address.
  ///   - timeout: how long an answer is waited for.
  public init(serverName: String?, timeout: TimeSpan) {
    self.serverName = serverName
    self.timeout = timeout
  }

  public mutating func begin(at now: Int64) -> ConversationStep {
    .say(ClientHello.bytes(serverName: serverName), within: timeout)
  }

  public mutating func receive(_ new: UnsafeRawBufferPointer, at now: Int64) -> ConversationStep {
    // The rest of the server's flight is let in, and its silence waited for: closing with unread data
    // would send a reset.
    guard reply == nil else { return .goOn }
    bytes += new.prefix(1024 - min(1024, bytes.count))
    reply = TLSReply(bytes)
    if reply == nil, bytes.count >= 1024 { reply = .other("") }
    return reply == nil ? .goOn : .wait(min(timeout, .milliseconds(30)))
  }

  public mutating func end(_ ending: ConnectionEnding, at now: Int64) -> ConversationStep {
    if reply == nil, !bytes.isEmpty {
      reply = .other(String(escapingControlsIn: bytes.prefix(32)))
    }
    reply = reply ?? (ending == .fin ? .closed : .reset)
    return .done
  }

  public mutating func expire(at now: Int64) -> ConversationStep {
    reply = reply ?? .silence(timeout)
    return .done
  }

  /// A server that does not want a ClientHello may close; the port is open all the same. A reset
  /// without a word is what an application does that fails for everyone.
  public var verdict: (outcome: PortCheck.Outcome, reason: String)? {
    reply == .reset ? (.reset, "reset after the ClientHello, without an answer") : nil
  }
}
