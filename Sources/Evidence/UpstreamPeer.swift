/// Whom nginx tried, as its error log names it.
public enum UpstreamPeer: Hashable, Sendable {
  /// An address and a port.
  case tcp(Endpoint)
  /// A UNIX socket's path; no packet of it is ever seen.
  case unix(String)
  /// The name of an upstream group (or of a host), when no peer was left to try.
  case group(String)

  public var endpoint: Endpoint? {
    if case .tcp(let endpoint) = self { endpoint } else { nil }
  }
}

extension UpstreamPeer: LosslessStringConvertible {
  public var description: String {
    switch self {
    case .tcp(let endpoint): endpoint.description
    case .unix(let path): "unix:\(path)"
    case .group(let name): name
    }
  }

  /// An address with a port, `unix:PATH`, or else a group's name; nil when empty.
  public init?(_ text: String) {
    if text.isEmpty { return nil }
    if let endpoint = Endpoint(text) {
      self = .tcp(endpoint)
    } else if text.hasPrefix("unix:") {
      self = .unix(String(text.dropFirst(5)))
    } else {
      self = .group(text)
    }
  }
}

extension UpstreamPeer: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let peer = Self(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "an upstream peer's name is empty")
    }
    self = peer
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
