/// One end of a TCP connection: an address and a port. In JSON one string, `10.0.1.11:8080` or
/// `[2001:db8::1]:8080`.
public struct Endpoint: Hashable, Comparable, Sendable {
  public var address: IPAddress
  public var port: UInt16

  @inlinable
  public init(address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }

  public static func < (a: Self, b: Self) -> Bool {
    a.address == b.address ? a.port < b.port : a.address < b.address
  }
}

extension Endpoint: LosslessStringConvertible {
  public var description: String {
    address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
  }

  /// Reads what `description` writes; nil for anything else (a name, no port, a port above 65535).
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { return nil }
    var host = text[..<colon]
    if host.first == "[", host.last == "]" {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard let address = IPAddress(parsing: host) else { return nil }
    self.init(address: address, port: port)
  }
}

extension Endpoint: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let endpoint = Self(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' is not an address and a port")
    }
    self = endpoint
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
