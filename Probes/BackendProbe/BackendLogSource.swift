public import Evidence

/// A log of a backend: a file, or a unit's journal.
public struct BackendLogSource: Hashable, Sendable {
  /// A path, as this process can open it, or `journal:UNIT`.
  public var path: String
  /// Whose backend writes it; nil: not said.
  public var upstream: UpstreamPeer?
  /// The process that held it open when it was found.
  public var owner: ProcessIdentity?

  public init(path: String, upstream: UpstreamPeer? = nil, owner: ProcessIdentity? = nil) {
    self.path = path
    self.upstream = upstream
    self.owner = owner
  }

  /// Reads `PATH` or `PATH=UPSTREAM`, where the upstream is `ADDRESS:PORT` or `unix:PATH`; nil for an
  /// empty path. A path that has `=` in it is one if what follows is no upstream.
  public init?(argument: String) {
    if let equals = argument.lastIndex(of: "=") {
      let name = String(argument[argument.index(after: equals)...])
      if let peer = UpstreamPeer(name), Self.isAddress(peer) {
        self.init(path: String(argument[..<equals]), upstream: peer)
        if path.isEmpty { return nil }
        return
      }
    }
    guard !argument.isEmpty else { return nil }
    self.init(path: argument)
  }

  private static func isAddress(_ peer: UpstreamPeer) -> Bool {
    switch peer {
    case .tcp, .unix: true
    case .group: false
    }
  }

  /// The unit of `journal:UNIT`.
  var unit: String? {
    path.hasPrefix("journal:") ? String(path.dropFirst(8)) : nil
  }

  /// As the observations name it.
  var shownPath: String { String(escapingControlsIn: path.utf8) }
}
