/// A version of nginx, as `1.22.1`.
public struct NginxVersion: Hashable, Comparable, Sendable, LosslessStringConvertible {
  public var major: Int
  public var minor: Int
  public var patch: Int

  public init(_ major: Int, _ minor: Int, _ patch: Int) {
    self.major = major
    self.minor = minor
    self.patch = patch
  }

  /// Reads `1.22.1`, and what follows a product's name in `nginx/1.22.1 (Ubuntu)`. OpenResty puts a
  /// fourth number behind that of its nginx.
  public init?(_ text: String) {
    let number = text.split(separator: "/").last ?? text[...]
    let parts = number.prefix { $0.isNumber || $0 == "." }.split(separator: ".").map { Int($0) }
    guard parts.count >= 3, let major = parts[0], let minor = parts[1], let patch = parts[2] else {
      return nil
    }
    self.init(major, minor, patch)
  }

  public var description: String { "\(major).\(minor).\(patch)" }

  public static func < (a: Self, b: Self) -> Bool {
    (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
  }
}

/// What `nginx -V` says of a binary.
public struct NginxBuild: Hashable, Sendable {
  public var version: NginxVersion?
  /// As `nginx/1.22.1`, `openresty/1.21.4.1`.
  public var product: String?
  /// Compiled-in paths; relative ones start at the prefix. The defaults are those of nginx's
  /// `auto/options`.
  public var prefix = "/usr/local/nginx"
  public var configurationPath = "conf/nginx.conf"
  public var errorLogPath = "logs/error.log"
  public var accessLogPath = "logs/access.log"

  public init() {}

  /// Reads the output of `nginx -V`.
  public init(parsing output: String) {
    for line in output.split(separator: "\n") {
      if let value = line.value(after: "nginx version: ") {
        product = String(value.split(separator: " ").first ?? value)
        version = product.flatMap(NginxVersion.init)
      } else if let value = line.value(after: "configure arguments:") {
        readArguments(value)
      }
    }
  }

  private mutating func readArguments(_ text: Substring) {
    for word in text.split(separator: " ") {
      func path(_ option: String) -> String? {
        word.value(after: option).map { $0.filter { $0 != "'" } }
      }
      if let value = path("--prefix=") { prefix = value }
      if let value = path("--conf-path=") { configurationPath = value }
      if let value = path("--error-log-path=") { errorLogPath = value }
      if let value = path("--http-log-path=") { accessLogPath = value }
    }
  }
}

extension Substring {
  func value(after prefix: String) -> Substring? {
    hasPrefix(prefix) ? dropFirst(prefix.count) : nil
  }
}
