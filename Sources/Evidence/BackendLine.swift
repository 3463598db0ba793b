/// A line of a backend's own log that says why a worker or a connection of it ended.
public struct BackendLine: Hashable, Codable, Sendable {
  /// Who wrote it.
  public var program: Program
  public var kind: Kind
  /// The process that the line is about: the worker that was killed, recycled, or that failed; nil
  /// where the line names none. In a container it is the pid that the container sees.
  public var pid: Int32?
  /// The signal that ended that process, where the line says so.
  public var signal: Int32?
  /// Its exit code, where the line says so.
  public var code: Int32?
  /// The limit that was reached, as the line names it: a request block's largest size in bytes, the
  /// most children; nil where it names none.
  public var limit: UInt64?
  /// What was measured against that limit: the request block's size in bytes, a request's age in
  /// seconds.
  public var measured: UInt64?
  /// The client's end of the connection that the line is about: nginx's own address and port, where
  /// the backend logs it (Go's net/http, HAProxy).
  public var peer: Endpoint?
  /// The systemd unit or the container that the line is about, where it or its journal entry names
  /// one.
  public var unit: String?
  /// The upstream whose backend writes this log, where that was given.
  public var upstream: UpstreamPeer?
  /// The process that held the log open when it was found; nil for a log that was named.
  public var owner: ProcessIdentity?
  /// The line, in one line: control bytes escaped, query strings and secrets removed, cut.
  public var text: String
  /// What the line's own clock says; nil when it has none.
  public var stamped: Timestamp?
  /// Which log it came from (a file, or `journal:UNIT`), and the offset of its first byte.
  public var path: String
  public var offset: UInt64

  public init(
    program: Program, kind: Kind, pid: Int32? = nil, signal: Int32? = nil, code: Int32? = nil,
    limit: UInt64? = nil, measured: UInt64? = nil, peer: Endpoint? = nil,
    unit: String? = nil, upstream: UpstreamPeer? = nil, owner: ProcessIdentity? = nil, text: String,
    stamped: Timestamp? = nil, path: String = "", offset: UInt64 = 0
  ) {
    self.program = program
    self.kind = kind
    self.pid = pid
    self.signal = signal
    self.code = code
    self.limit = limit
    self.measured = measured
    self.peer = peer
    self.unit = unit
    self.upstream = upstream
    self.owner = owner
    self.text = text
    self.stamped = stamped
    self.path = path
    self.offset = offset
  }

  public enum Program: String, Hashable, Codable, Sendable {
    case gunicorn
    case uwsgi = "uWSGI"
    case phpFPM = "php-fpm"
    case puma = "Puma"
    case node = "Node"
    case apache = "Apache"
    case haproxy = "HAProxy"
    case tomcat = "Tomcat"
    case java = "Java"
    case go = "Go"
    case python = "Python"
    case systemd
    /// Not known: the line is kept as context.
    case unknown = "backend"
  }

  public enum Kind: String, Hashable, Codable, Sendable {
    /// Its master lost patience with a worker's request, and kills it: gunicorn's WORKER TIMEOUT,
    /// uWSGI's HARAKIRI, php-fpm's `execution timed out`, Puma's `Terminating timed out worker`.
    case workerTimeout
    /// A worker ends by plan: the most requests, the longest life or the largest memory was reached.
    case workerRecycle
    /// The master saw a worker end by a signal (`signal`).
    case workerKilled
    /// The master saw a worker end, or it says so itself (`code`).
    case workerExited
    /// A new worker.
    case workerStarted
    /// It closed a connection whose request is larger than it takes (`measured`, `limit`): uWSGI's
    /// `invalid request block size`.
    case requestTooLarge
    /// It was spoken to in another protocol than its own: HTTP to a uwsgi socket.
    case wrongProtocol
    /// It has no worker or no room in its queue left: max_children, MaxRequestWorkers, a full listen
    /// queue.
    case saturated
    /// A request failed within the application, or the program as a whole: an exception that nobody
    /// caught, a panic.
    case exception
    /// A proxy says how a session ended: HAProxy's termination state.
    case sessionAborted
    /// The whole service stops or restarts, by order.
    case stopping
    /// The whole service began.
    case started
    /// It ran out of memory of its own: a heap limit, `memory_limit`.
    case outOfMemory
    /// None of these; written within a second of a failure.
    case context
  }
}
