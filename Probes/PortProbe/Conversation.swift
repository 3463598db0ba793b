public import Evidence

/// What is said on a connection once it stands, beyond having been accepted.
///
/// The engine owns the connection, a conversation decides: it is told what happened and answers with
/// the next step. It never blocks and keeps no payload.
public protocol Conversation {
  /// The connection stands.
  /// - Parameter now: CLOCK_MONOTONIC in nanoseconds, as everywhere here.
  mutating func begin(at now: Int64) -> ConversationStep

  /// The other side said something.
  mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Int64) -> ConversationStep

  /// The other side ended the connection.
  mutating func end(_ ending: ConnectionEnding, at now: Int64) -> ConversationStep

  /// The time of the last step is over.
  mutating func expire(at now: Int64) -> ConversationStep

  /// What it means for the port, where the conversation knows more than that it was accepted.
  var verdict: (outcome: PortCheck.Outcome, reason: String)? { get }
}

/// What a conversation wants next.
public enum ConversationStep {
  /// Say this, then wait so long for what comes.
  case say([UInt8], within: TimeSpan)
  case wait(TimeSpan)
  /// Wait on, until the time of the step before is over.
  case goOn
  /// Close, connect again, and begin again.
  case reconnect
  case done
}

/// How the other side ended a connection.
public enum ConnectionEnding: Sendable {
  case fin
  case reset
}
