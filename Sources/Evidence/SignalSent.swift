/// A signal that may end a process was sent to it (the tracepoint signal/signal_generate).
public struct SignalSent: Hashable, Codable, Sendable {
  public var signal: Int32
  public var target: ProcessIdentity
  /// Who sent it; nil when the kernel did: the out-of-memory killer, a fault, a timer.
  public var sender: ProcessIdentity?

  public init(signal: Int32, target: ProcessIdentity, sender: ProcessIdentity? = nil) {
    self.signal = signal
    self.target = target
    self.sender = sender
  }

  /// Its own master, or whatever else started it.
  public var isFromParent: Bool { sender.map { $0.pid == target.parent } ?? false }
}
