/// A request of HTTP/1.x with its body: as much of the protocol as nginx sends to a backend.
struct HTTPRequest {
  var method: String
  /// With its query string.
  var target: String
  var keepsAlive: Bool
  var bodyBytes: Int

  /// Larger heads and bodies are refused.
  static let headLimit = 16 << 10
  static let bodyLimit = 1 << 20

  enum Parsed {
    case request(HTTPRequest, length: Int)
    case incomplete
    /// The status that answers it, as `400 Bad Request`.
    case refused(String)
  }

  /// Reads one request from the start of `bytes`.
  static func parse(_ bytes: [UInt8]) -> Parsed {
    guard let headEnd = endOfHead(bytes) else {
      return bytes.count > headLimit
        ? .refused("431 Request Header Fields Too Large") : .incomplete
    }
    let head = String(decoding: bytes[..<headEnd], as: UTF8.self)
    let lines = head.split(separator: "\r\n", omittingEmptySubsequences: true)
    let words = (lines.first ?? "").split(separator: " ")
    guard words.count == 3, words[2].hasPrefix("HTTP/1.") else {
      return .refused("400 Bad Request")
    }
    var request = HTTPRequest(
      method: String(words[0]), target: String(words[1]), keepsAlive: words[2] != "HTTP/1.0",
      bodyBytes: 0)
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { return .refused("400 Bad Request") }
      let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
      switch line[..<colon].lowercased() {
      case "content-length":
        guard let length = Int(value), length >= 0 else { return .refused("400 Bad Request") }
        guard length <= bodyLimit else { return .refused("413 Content Too Large") }
        request.bodyBytes = length
      case "transfer-encoding":
        return .refused("411 Length Required")
      case "connection":
        if value.lowercased() == "close" { request.keepsAlive = false }
        if value.lowercased() == "keep-alive" { request.keepsAlive = true }
      default: break
      }
    }
    let length = headEnd + 4 + request.bodyBytes
    return bytes.count < length ? .incomplete : .request(request, length: length)
  }

  /// Where the empty line begins that ends a request's head.
  private static func endOfHead(_ bytes: [UInt8]) -> Int? {
    guard bytes.count >= 4 else { return nil }
    return (0...bytes.count - 4).first { index in
      bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13
        && bytes[index + 3] == 10
    }
  }

  var path: Substring { target.prefix { $0 != "?" } }

  /// `ms=N` of the query string: how long to wait before the answer.
  var delayMilliseconds: Int64 {
    let query = target.drop { $0 != "?" }.dropFirst()
    let pair = query.split(separator: "&").first { $0.hasPrefix("ms=") }
    return pair.flatMap { Int64($0.dropFirst(3)) }.map { min(max($0, 0), 600_000) } ?? 0
  }

  var fault: Fault? {
    let parts = path.split(separator: "/")
    guard let word = parts.firstIndex(of: "fault"), word + 1 < parts.endIndex else { return nil }
    return Fault(rawValue: String(parts[word + 1]))
  }

  /// The lab's name of the request, `labNxNz`: the part of the path behind the fault.
  var token: Substring? {
    path.split(separator: "/").last.flatMap { $0.hasPrefix("lab") && $0.hasSuffix("z") ? $0 : nil }
  }
}
