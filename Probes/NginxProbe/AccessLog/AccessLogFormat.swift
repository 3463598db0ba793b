public import Evidence

/// A `log_format`, compiled: the literal text and the variables between, in order.
public struct AccessLogFormat: Hashable, Sendable {
  public enum Escape: String, Hashable, Sendable {
    /// `"`, `\`, controls and bytes from 0x7f on as `\xHH` (ngx_http_log_module.c, since 0.7.64).
    case `default`
    /// As JSON strings (since 1.11.8).
    case json
    /// Nothing is escaped (since 1.13.10): a value may look like what follows it.
    case none
  }

  enum Element: Hashable, Sendable {
    case literal([UInt8])
    /// Without the dollar.
    case variable(String)
  }

  public var name: String
  public var escape: Escape
  let elements: [Element]
  /// Where it is written; nil for the predefined `combined`.
  public var directive: Directive?

  /// Every variable in it, with the dollar.
  public var variables: Set<String> {
    Set(
      elements.compactMap { element in
        if case .variable(let name) = element { "$" + name } else { nil }
      })
  }

  /// - Parameter text: the format as nginx reads it, quotes gone and strings joined.
  public init(name: String, escape: Escape = .default, _ text: String) {
    self.name = name
    self.escape = escape
    elements = Self.parse(Array(text.utf8))
  }

  /// Reads `log_format NAME [escape=...] STRING...`; nil for anything else.
  public init?(_ directive: Directive) {
    guard directive.name == "log_format", let name = directive.arguments.first else { return nil }
    var strings = directive.arguments.dropFirst()
    var escape = Escape.default
    if let first = strings.first, first.hasPrefix("escape=") {
      escape = Escape(rawValue: String(first.dropFirst(7))) ?? .default
      strings = strings.dropFirst()
    }
    self.init(name: name, escape: escape, strings.joined())
    self.directive = directive
  }

  /// nginx's own default format.
  public static let combined = AccessLogFormat(
    name: "combined",
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent "
      + "\"$http_referer\" \"$http_user_agent\"")

  /// Literal text and variables: `$name`, `${name}` (ngx_http_log_module.c,
  /// `ngx_http_log_compile_format`).
  private static func parse(_ text: [UInt8]) -> [Element] {
    var elements: [Element] = []
    var literal: [UInt8] = []
    var position = 0
    func isName(_ byte: UInt8) -> Bool {
      (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
        || byte == 0x5f
    }
    while position < text.count {
      guard text[position] == UInt8(ascii: "$") else {
        literal.append(text[position])
        position += 1
        continue
      }
      var start = position + 1
      let isBraced = start < text.count && text[start] == UInt8(ascii: "{")
      if isBraced { start += 1 }
      var end = start
      while end < text.count, isName(text[end]) { end += 1 }
      guard end > start else {
        literal.append(text[position])
        position += 1
        continue
      }
      if !literal.isEmpty { elements.append(.literal(literal)) }
      literal = []
      elements.append(.variable(String(decoding: text[start..<end], as: UTF8.self)))
      position = end
      if isBraced, position < text.count, text[position] == UInt8(ascii: "}") { position += 1 }
    }
    if !literal.isEmpty { elements.append(.literal(literal)) }
    return elements
  }
}

extension AccessLogFormat {
  /// The format that makes the join of a request with its errors, tries and packets exact.
  public static let recommendedDirective = """
    log_format upclose '$msec $pid $connection $connection_requests $remote_addr $status '
      '[$upstream_addr] [$upstream_status] [$upstream_connect_time] [$upstream_header_time] '
      '[$upstream_response_time] [$upstream_bytes_sent] [$upstream_bytes_received] '
      '$sent_http_content_length $body_bytes_sent $request_length $request_time "$request"';
    """

  /// The same, parsed.
  public static let recommended: AccessLogFormat = {
    let text = recommendedDirective.split(separator: "'").enumerated()
      .compactMap { $0.offset % 2 == 1 ? $0.element : nil }.joined()
    return AccessLogFormat(name: "upclose", text)
  }()

  /// nginx's own format with the lists of tries behind it, as many tutorials have it.
  public static let upstreamLists = AccessLogFormat(
    name: "combined with upstream",
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent "
      + "\"$http_referer\" \"$http_user_agent\" \"$upstream_addr\" \"$upstream_status\" "
      + "\"$upstream_response_time\"")

  /// What is tried where no configuration says which it is.
  public static let usual: [AccessLogFormat] = [recommended, upstreamLists, combined]

  /// Reads a format as a user has it: the whole directive (`log_format x '...';`), or its text alone.
  public init?(written text: String) {
    if text.hasPrefix("log_format ") {
      let whole = text.hasSuffix(";") ? text : text + ";"
      guard let directive = try? NginxConfiguration.directives(ofOption: whole).first else {
        return nil
      }
      self.init(directive)
    } else {
      self.init(name: "the given one", text)
    }
  }

  /// What a log in this format hides; nil when it has all that is wanted.
  public var blindSpot: BlindSpot? {
    let missing = Self.missingFields(variables)
    guard let first = missing.first else { return nil }
    let uses = missing.prefix(2).compactMap { Self.use(of: $0) }.joined(separator: "; ")
    return BlindSpot(
      id: "access-log-format",
      what: "log_format \(String(escapingControlsIn: name.utf8)) lacks \(first)"
        + (missing.count > 1 ? " and \(missing.count - 1) more" : ""),
      cost: "not known: \(uses)", remedy: "add the log_format that `upclose doctor` prints")
  }

  /// What the fields are for, those that matter most first.
  static let wanted: [(variable: String, use: String)] = [
    ("$upstream_addr", "which backends were tried"),
    ("$upstream_status", "how each try ended: retries behind a 200"),
    ("$connection", "which request an error line belongs to"),
    ("$pid", "which worker served it"),
    ("$msec", "when, to the millisecond"),
    ("$upstream_response_time", "how long each try took"),
    ("$upstream_header_time", "whether a response had begun"),
    ("$upstream_connect_time", "whether a connection was there"),
    ("$upstream_bytes_sent", "which packets were that try's"),
    ("$upstream_bytes_received", "which packets were that try's"),
    ("$body_bytes_sent", "whether the client got all"),
    ("$sent_http_content_length", "whether the client got all"),
    ("$status", "what the client got"),
    ("$request_length", "whether large requests fail"),
  ]

  /// The wanted variables that are not among those of a format, the weightiest first.
  public static func missingFields(_ variables: Set<String>) -> [String] {
    wanted.map(\.variable).filter { !variables.contains($0) }
  }

  /// What a missing variable would tell.
  public static func use(of variable: String) -> String? {
    wanted.first { $0.variable == variable }?.use
  }
}

/// Every `log_format` of a configuration, by name.
public struct AccessLogFormats: Sendable {
  private var formats: [String: AccessLogFormat] = ["combined": .combined]

  public init(_ directives: [Directive]) {
    // Of `http` alone: `stream` has formats of its own, for sessions.
    for http in directives where http.name == "http" {
      for directive in http.block ?? [] {
        if let format = AccessLogFormat(directive) { formats[format.name] = format }
      }
    }
  }

  public subscript(name: String) -> AccessLogFormat? { formats[name] }
}

extension LoadedNginx {
  /// The formats of its access logs, each once.
  public var accessLogFormats: [AccessLogFormat] {
    let formats = AccessLogFormats(directives)
    var seen: Set<String> = []
    return settings.accessLogs.compactMap(\.format).filter { seen.insert($0).inserted }
      .compactMap { formats[$0] }
  }
}
