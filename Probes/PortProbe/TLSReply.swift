public import Evidence

/// What came back for a ClientHello.
public enum TLSReply: Hashable, Sendable {
  /// A ServerHello (or a HelloRetryRequest, which is one): the version it chose, as `TLS 1.3`, and
  /// the cipher suite's number.
  case serverHello(version: String, cipher: UInt16)
  /// An alert: it speaks TLS and does not want ours. The number is that of RFC 8446 6.
  case alert(UInt8)
  /// Plain HTTP, with this status.
  case http(status: Int)
  /// The first bytes, made safe to print.
  case other(String)
  case silence(TimeSpan)
  case closed
  case reset

  /// Whether it speaks TLS; nil when the answer does not decide it.
  public var speaksTLS: Bool? {
    switch self {
    case .serverHello, .alert: true
    case .http, .other: false
    case .silence, .closed, .reset: nil
    }
  }

  /// Reads the first bytes that came.
  /// - Returns: nil when they are too few to tell.
  init?(_ bytes: [UInt8]) {
    if bytes.starts(with: Array("HTTP/".utf8)) {
      guard bytes.count >= 12 else { return nil }
      let status = Int(String(decoding: bytes[9..<12], as: UTF8.self))
      self = status.map { .http(status: $0) } ?? .other(Self.shown(bytes))
      return
    }
    guard let type = bytes.first else { return nil }
    guard type == 21 || type == 22 else {
      // What begins like HTTP may still become it.
      let isShort = bytes.count < 12 && Array("HTTP/".utf8).starts(with: bytes.prefix(5))
      if isShort { return nil }
      self = .other(Self.shown(bytes))
      return
    }
    guard bytes.count >= 7 else { return nil }
    guard bytes[1] == 3 else {
      self = .other(Self.shown(bytes))
      return
    }
    if type == 21 {
      self = .alert(bytes[6])
    } else if let hello = Self.serverHello(bytes) {
      self = hello
    } else {
      return nil
    }
  }

  /// Record header (5), handshake header (4), version, random, session id, cipher, compression,
  /// extensions: RFC 8446 4.1.3.
  private static func serverHello(_ bytes: [UInt8]) -> Self? {
    guard bytes.count > 5 else { return nil }
    guard bytes[5] == 2 else { return .other(shown(bytes)) }
    guard bytes.count >= 44 else { return nil }
    let afterSession = 44 + Int(bytes[43])
    guard bytes.count >= afterSession + 3 else { return nil }
    let cipher = UInt16(bytes[afterSession]) << 8 | UInt16(bytes[afterSession + 1])
    var version = UInt16(bytes[9]) << 8 | UInt16(bytes[10])
    let end = min(bytes.count, 9 + Int(bytes[6]) << 16 + Int(bytes[7]) << 8 + Int(bytes[8]))
    var offset = afterSession + 5
    while offset + 4 <= end {
      let type = UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
      let length = Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
      if type == 43, length == 2, offset + 6 <= end {
        version = UInt16(bytes[offset + 4]) << 8 | UInt16(bytes[offset + 5])
      }
      offset += 4 + length
    }
    return .serverHello(version: name(version), cipher: cipher)
  }

  private static func name(_ version: UInt16) -> String {
    switch version {
    case 0x0300: "SSL 3.0"
    case 0x0301...0x0304: "TLS 1.\(version - 0x0301)"
    default: "TLS version \(version)"
    }
  }

  private static func shown(_ bytes: [UInt8]) -> String {
    String(escapingControlsIn: bytes.prefix(32))
  }
}

extension TLSReply: CustomStringConvertible {
  public var description: String {
    switch self {
    case .serverHello(let version, _): "speaks \(version)"
    case .alert(let number): "speaks TLS, answers with alert \(number) (\(Self.alertName(number)))"
    case .http(let status): "plain HTTP (answers the ClientHello with status \(status))"
    case .other(let text): "not TLS (answers the ClientHello with \"\(text)\")"
    case .silence(let length): "no answer to the ClientHello in \(length)"
    case .closed: "closes after the ClientHello"
    case .reset: "resets after the ClientHello"
    }
  }

  /// RFC 8446 6.
  private static func alertName(_ number: UInt8) -> String {
    switch number {
    case 0: "close_notify"
    case 10: "unexpected_message"
    case 40: "handshake_failure"
    case 42: "bad_certificate"
    case 47: "illegal_parameter"
    case 50: "decode_error"
    case 51: "decrypt_error"
    case 70: "protocol_version"
    case 71: "insufficient_security"
    case 80: "internal_error"
    case 109: "missing_extension"
    case 112: "unrecognized_name"
    case 116: "certificate_required"
    case 120: "no_application_protocol"
    default: "unnamed"
    }
  }
}
