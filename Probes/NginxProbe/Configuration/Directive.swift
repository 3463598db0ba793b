import Evidence

/// One directive of an nginx configuration, with its block.
public struct Directive: Hashable, Sendable {
  public var name: String
  /// Words behind the name, without quotes and escapes.
  public var arguments: [String]
  /// Directives between its braces; nil when it ends with a semicolon. Code (of Lua) is left out:
  /// an empty block.
  public var block: [Directive]?
  public var file: String
  /// From 1.
  public var line: Int

  public init(
    name: String, arguments: [String] = [], block: [Directive]? = nil, file: String, line: Int
  ) {
    self.name = name
    self.arguments = arguments
    self.block = block
    self.file = file
    self.line = line
  }

  /// As `/etc/nginx/nginx.conf:31`, safe to print.
  public var location: String { "\(String(escapingControlsIn: file.utf8)):\(line)" }
}

/// Why a configuration cannot be understood, and where.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  public var file: String
  /// From 1; nil when the file could not be read.
  public var line: Int?
  public var reason: String

  public init(file: String, line: Int?, reason: String) {
    self.file = file
    self.line = line
    self.reason = reason
  }

  public var description: String {
    let place = line.map { "\(file):\($0)" } ?? file
    return String(escapingControlsIn: "\(place): \(reason)".utf8)
  }
}
