public import Evidence

/// A changed setting of nginx, whose effect on a session can be counted.
public enum WhatIfSetting: Hashable, Sendable {
  /// Of the upstream block.
  case keepaliveTimeout(TimeSpan)
  case keepaliveRequests(Int)
  /// Connections kept by each worker; 0: none.
  case keepalive(Int)
  /// The words of `proxy_next_upstream`.
  case nextUpstream([String])
  case readTimeout(TimeSpan)
  case maxFails(Int)

  public var directive: String {
    switch self {
    case .keepaliveTimeout: "keepalive_timeout"
    case .keepaliveRequests: "keepalive_requests"
    case .keepalive: "keepalive"
    case .nextUpstream: "proxy_next_upstream"
    case .readTimeout: "proxy_read_timeout"
    case .maxFails: "max_fails"
    }
  }

  /// As nginx reads it.
  public var value: String {
    switch self {
    case .keepaliveTimeout(let span), .readTimeout(let span): StaleKeepalive.nginxTime(span)
    case .keepaliveRequests(let number), .keepalive(let number), .maxFails(let number): "\(number)"
    case .nextUpstream(let words): words.joined(separator: " ")
    }
  }

  public static let directives = [
    "keepalive_timeout", "keepalive_requests", "keepalive", "proxy_next_upstream",
    "proxy_read_timeout", "max_fails",
  ]
}

extension WhatIfSetting: LosslessStringConvertible {
  public var description: String { "\(directive)=\(value)" }

  /// Reads `keepalive_timeout=4s`; words are parted by spaces or commas. Nil for a directive that is
  /// not in `directives`, or a value that nginx would refuse.
  public init?(_ text: String) {
    guard let equals = text.firstIndex(of: "=") else { return nil }
    let value = text[text.index(after: equals)...]
    switch text[..<equals] {
    case "keepalive_timeout":
      guard let span = Self.time(value) else { return nil }
      self = .keepaliveTimeout(span)
    case "proxy_read_timeout":
      guard let span = Self.time(value), span > .zero else { return nil }
      self = .readTimeout(span)
    case "keepalive_requests":
      guard let number = Int(value), number > 0 else { return nil }
      self = .keepaliveRequests(number)
    case "keepalive":
      guard let number = Int(value), number >= 0 else { return nil }
      self = .keepalive(number)
    case "max_fails":
      guard let number = Int(value), number >= 0 else { return nil }
      self = .maxFails(number)
    case "proxy_next_upstream":
      let words = value.split { $0 == " " || $0 == "," }.map(String.init)
      guard !words.isEmpty, words.allSatisfy(Self.known.contains) else { return nil }
      self = .nextUpstream(words)
    default: return nil
    }
  }

  /// ngx_http_proxy_module.c, `ngx_http_proxy_next_upstream_masks`.
  private static let known: Set<String> = [
    "error", "timeout", "invalid_header", "non_idempotent", "off", "http_500", "http_502",
    "http_503", "http_504", "http_403", "http_404", "http_429", "updating",
  ]

  /// nginx's time: `4s`, `1500ms`, `1m30s`; a bare number is seconds (ngx_parse.c `ngx_parse_time`).
  private static func time(_ text: Substring) -> TimeSpan? {
    var total: Int64 = 0
    var rest = text
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      guard let number = Int64(digits), number < 1 << 32 else { return nil }
      rest = rest.dropFirst(digits.count)
      let unit = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(unit.count)
      let milliseconds: Int64
      switch unit {
      case "ms": milliseconds = 1
      case "s", "": milliseconds = 1000
      case "m": milliseconds = 60_000
      case "h": milliseconds = 3_600_000
      case "d": milliseconds = 86_400_000
      default: return nil
      }
      total += number * milliseconds
      guard total < 1 << 43 else { return nil }
    }
    return .milliseconds(total)
  }
}

extension WhatIfSetting: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let setting = Self(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' is no setting that can be tried")
    }
    self = setting
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// What a session would have been under a changed setting, as far as that can be said.
public struct WhatIf: Hashable, Codable, Sendable {
  public var setting: WhatIfSetting
  /// The upstream's address; nil: all of them.
  public var upstream: String?
  /// Errors that could not have happened.
  public var prevented: Int
  /// Those of which it cannot be said.
  public var uncertain: Int
  /// Of so many that the setting has to do with.
  public var ofErrors: Int
  /// Connections that would have had to be made besides, at most; negative: fewer; nil: not counted.
  public var moreConnections: Int?
  /// Reuses of connections in all, against which they are to be held; nil: not counted.
  public var ofReuses: Int?
  /// What else it would have brought, a clause each.
  public var notes: [String]
}
