/// Requests and responses on a connection: what the last one was, by turns of direction.
struct Exchange: BitwiseCopyable {
  /// When the last request's first byte was sent; 0 without one.
  var requestTime: Int64 = 0
  var requestBytes: UInt64 = 0
  var responseBytes: UInt64 = 0
  /// How long the request will be with its header; -1 when not known.
  var requestLength: Int64 = -1
  /// How long the response will be with its header; -1 when not known.
  var responseLength: Int64 = -1
  /// The sequence number of the request's first byte.
  var requestStart: UInt32 = 0
  var count: UInt32 = 0
  /// The number of the kept request line; 0 for none.
  var line: UInt32 = 0
  var marks = Marks()

  /// More of the request is known to come.
  var isRequestCut: Bool { requestLength >= 0 && requestBytes < UInt64(requestLength) }

  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt32 = 0
    /// The originator spoke last.
    static let open = Self(rawValue: 1)
    static let http1 = Self(rawValue: 2)
    static let http2 = Self(rawValue: 4)
    static let tls = Self(rawValue: 8)
    static let tlsEstablished = Self(rawValue: 16)
    /// What the originator speaks was looked at.
    static let classified = Self(rawValue: 32)
    /// Turns of direction are no exchanges here.
    static let uncountable = Self(rawValue: 64)
    /// The request was a HEAD: its response has no body.
    static let head = Self(rawValue: 128)
    static let chunked = Self(rawValue: 256)
    static let lastChunk = Self(rawValue: 512)
    /// The response's header has not ended; `responseLength` holds its body's length until it does.
    static let inHeader = Self(rawValue: 1024)
    /// What was seen of the header ends with a line, or with a line and the CR of an empty one.
    static let atLineStart = Self(rawValue: 2048)
    static let afterReturn = Self(rawValue: 4096)
    /// The response has no length: it ends with the connection (RFC 9112, 6.3).
    static let untilClose = Self(rawValue: 8192)
    /// A segment ended within a field, which was not read, or within the status line.
    static let lostField = Self(rawValue: 16384)
    static let lostStatus = Self(rawValue: 32768)

    /// There was a request.
    static let begun = Self(rawValue: 65536)

    /// Of one exchange, not of the connection.
    static let ofExchange: Self = [
      .head, .chunked, .lastChunk, .inHeader, .atLineStart, .afterReturn, .untilClose, .lostField,
      .lostStatus,
    ]
  }
}
