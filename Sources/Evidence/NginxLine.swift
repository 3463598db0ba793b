/// One entry of an nginx error log, taken apart.
public struct NginxLine: Hashable, Codable, Sendable {
  public var message: NginxMessage
  /// The message as nginx wrote it, without errno and context; control bytes escaped.
  public var text: String
  /// `emerg`, `alert`, `crit`, `error`, `warn`, `notice`, `info` or `debug`.
  public var level: String
  /// The second that nginx stamped (its cached clock): never later than the truth.
  public var stamped: Timestamp
  /// The process that wrote it: a worker's pid.
  public var worker: Int32
  /// `*N`: the serial number of the client's connection; nil for lines outside one.
  public var connection: UInt64?
  public var errno: Int32?
  /// The text after ` while `; the last handler entered, not proof of the phase.
  public var action: String?
  public var client: String?
  public var server: String?
  /// The client's request line as logged, query string removed unless asked for.
  public var request: String?
  public var subrequest: String?
  /// `http`, `https`, `fastcgi`, `uwsgi`, `scgi`, `grpc`, ...; nil in stream lines.
  public var scheme: String?
  public var upstream: UpstreamPeer?
  /// Path that was asked of the upstream, after rewriting, without its query string.
  public var upstreamURI: String?
  public var host: String?
  /// The entry filled nginx's 2048-byte buffer: later fields may be lost.
  public var isTruncated: Bool
  /// Which log it came from, and the offset of its first byte.
  public var path: String
  public var offset: UInt64

  public init(
    message: NginxMessage, text: String, level: String, stamped: Timestamp, worker: Int32,
    connection: UInt64? = nil, errno: Int32? = nil, action: String? = nil, client: String? = nil,
    server: String? = nil, request: String? = nil, subrequest: String? = nil,
    scheme: String? = nil, upstream: UpstreamPeer? = nil, upstreamURI: String? = nil,
    host: String? = nil, isTruncated: Bool = false, path: String = "", offset: UInt64 = 0
  ) {
    self.message = message
    self.text = text
    self.level = level
    self.stamped = stamped
    self.worker = worker
    self.connection = connection
    self.errno = errno
    self.action = action
    self.client = client
    self.server = server
    self.request = request
    self.subrequest = subrequest
    self.scheme = scheme
    self.upstream = upstream
    self.upstreamURI = upstreamURI
    self.host = host
    self.isTruncated = isTruncated
    self.path = path
    self.offset = offset
  }

  /// `METHOD path` as the upstream should have seen it: the client's method and the rewritten path.
  /// Nil when either is unknown (FastCGI and gRPC log no path).
  public var upstreamRequest: String? {
    guard let request, let upstreamURI, let space = request.firstIndex(of: " ") else { return nil }
    return "\(request[..<space]) \(upstreamURI)"
  }
}
