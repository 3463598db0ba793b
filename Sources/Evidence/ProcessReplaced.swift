/// A process behind a watched endpoint became another program (`execve`), keeping its pid and its
/// sockets: an upgrade in place, or a wrapper that started the real thing.
public struct ProcessReplaced: Hashable, Codable, Sendable {
  public var old: ProcessIdentity
  public var new: ProcessIdentity

  public init(old: ProcessIdentity, new: ProcessIdentity) {
    self.old = old
    self.new = new
  }
}
