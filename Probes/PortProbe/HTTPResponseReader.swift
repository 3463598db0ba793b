/// Reads one HTTP/1 response after another off a connection, as far as is needed to know the status
/// and where each ends (RFC 9112). Bodies are counted and dropped.
struct HTTPResponseReader {
  enum Progress: Hashable {
    case more
    /// The response is whole.
    case complete(keepsAlive: Bool)
    /// This is not HTTP/1.
    case notHTTP
  }

  private enum State {
    case statusLine
    case header
    /// So many bytes are left.
    case body(Int)
    case chunkSize
    case chunk(Int)
    case chunkEnd
    case trailer
    /// The body ends with the connection.
    case untilClose
  }

  /// Of the response under way, or the last one.
  private(set) var status: Int?
  private var state = State.statusLine
  private var line: [UInt8] = []
  private var length: Int?
  private var isChunked = false
  private var keepsAlive = true
  private let isHead: Bool
  private static let longestLine = 64 << 10

  /// - Parameter isHead: whether the requests are HEAD, so that no body follows.
  init(isHead: Bool = false) { self.isHead = isHead }

  /// Whether the end of the connection ends the response under way.
  var endsWithConnection: Bool { if case .untilClose = state { true } else { false } }

  /// Whether nothing of a response has come yet.
  var isBetween: Bool { if case .statusLine = state { line.isEmpty } else { false } }

  /// Takes in what came. What follows a whole response is dropped: nothing was asked for yet.
  mutating func take(_ bytes: UnsafeRawBufferPointer) -> Progress {
    var offset = 0
    while offset < bytes.count {
      switch state {
      case .body(let left):
        let taken = min(left, bytes.count - offset)
        offset += taken
        if taken == left { return complete() }
        state = .body(left - taken)
      case .chunk(let left):
        let taken = min(left, bytes.count - offset)
        offset += taken
        state = taken == left ? .chunkEnd : .chunk(left - taken)
      case .untilClose: return .more
      default:
        let byte = bytes[offset]
        offset += 1
        guard byte == 10 else {
          guard line.count < Self.longestLine else { return .notHTTP }
          line.append(byte)
          if case .statusLine = state, line.count <= 5, !Array("HTTP/".utf8).starts(with: line) {
            return .notHTTP
          }
          continue
        }
        if line.last == 13 { line.removeLast() }
        let progress = endOfLine()
        line.removeAll(keepingCapacity: true)
        if progress != .more { return progress }
      }
    }
    return .more
  }

  private mutating func endOfLine() -> Progress {
    switch state {
    case .statusLine: return statusLine()
    case .header: return line.isEmpty ? endOfHeaders() : header()
    case .chunkSize:
      let digits = line.prefix { $0 != 59 && $0 != 32 }
      guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16), size >= 0 else {
        return .notHTTP
      }
      state = size == 0 ? .trailer : .chunk(size)
    case .chunkEnd: state = .chunkSize
    case .trailer: if line.isEmpty { return complete() }
    default: break
    }
    return .more
  }

  /// `HTTP/1.1 200 OK`; HTTP/1.0 closes unless it says otherwise.
  private mutating func statusLine() -> Progress {
    let text = String(decoding: line.prefix(64), as: UTF8.self)
    let words = text.split(separator: " ")
    guard words.count >= 2, let code = Int(words[1]), (100...999).contains(code) else {
      return .notHTTP
    }
    status = code
    keepsAlive = words[0] != "HTTP/1.0"
    length = nil
    isChunked = false
    state = .header
    return .more
  }

  private mutating func header() -> Progress {
    guard let colon = line.firstIndex(of: 58) else { return .more }
    let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
    let value = String(decoding: line[(colon + 1)...], as: UTF8.self).lowercased()
      .drop { $0 == " " || $0 == "\t" }
    switch name {
    case "content-length":
      guard let size = Int(value.prefix { $0 != " " }), size >= 0 else { return .notHTTP }
      length = size
    case "transfer-encoding": isChunked = value.contains("chunked")
    case "connection":
      if value.contains("close") { keepsAlive = false }
      if value.contains("keep-alive") { keepsAlive = true }
    default: break
    }
    return .more
  }

  private mutating func endOfHeaders() -> Progress {
    let code = status ?? 0
    if code < 200 {
      // 100 Continue, 103 Early Hints: the response is yet to come.
      state = .statusLine
      return code == 101 ? .complete(keepsAlive: false) : .more
    }
    if isHead || code == 204 || code == 304 { return complete() }
    if isChunked {
      state = .chunkSize
    } else if let length {
      if length == 0 { return complete() }
      state = .body(length)
    } else {
      keepsAlive = false
      state = .untilClose
    }
    return .more
  }

  private mutating func complete() -> Progress {
    state = .statusLine
    return .complete(keepsAlive: keepsAlive)
  }
}
