/// A running nginx (or the files given instead of one): what the correlator needs of its settings.
public struct NginxInstance: Hashable, Codable, Sendable {
  /// The master's pid; nil when only files were given.
  public var master: Int32?
  public var workers: [Int32]
  /// As `1.22.1`.
  public var version: String?
  public var configurationPath: String?
  public var errorLogs: [String]
  public var accessLogs: [String]
  public var upstreams: [UpstreamGroup]

  public init(
    master: Int32? = nil, workers: [Int32] = [], version: String? = nil,
    configurationPath: String? = nil, errorLogs: [String] = [], accessLogs: [String] = [],
    upstreams: [UpstreamGroup] = []
  ) {
    self.master = master
    self.workers = workers
    self.version = version
    self.configurationPath = configurationPath
    self.errorLogs = errorLogs
    self.accessLogs = accessLogs
    self.upstreams = upstreams
  }
}

/// An `upstream` block, or the implicit group of a `proxy_pass http://host:port`.
public struct UpstreamGroup: Hashable, Codable, Sendable {
  public var name: String
  /// Whether it was written as an `upstream` block.
  public var isExplicit: Bool
  public var servers: [UpstreamServer]
  /// Idle connections kept per worker; nil: no keepalive.
  public var keepalive: Int?
  /// How long nginx keeps an idle connection; the version's default where nothing is written.
  public var keepaliveTimeout: TimeSpan?
  public var keepaliveRequests: Int?
  /// Shared by all workers (`zone`).
  public var hasZone: Bool
  /// Where it is written, as `/etc/nginx/nginx.conf:31`.
  public var location: String?
  /// What nginx does when a try fails; nil when not known, or when the locations that lead here
  /// differ.
  public var retry: RetryRules?
  /// Whether it keeps connections though nobody wrote `keepalive`: nginx's default since 1.29.7; nil
  /// where it is written, or that was not told.
  public var keepaliveIsDefault: Bool?

  public init(
    name: String, isExplicit: Bool = true, servers: [UpstreamServer], keepalive: Int? = nil,
    keepaliveTimeout: TimeSpan? = nil, keepaliveRequests: Int? = nil, hasZone: Bool = false,
    location: String? = nil, retry: RetryRules? = nil, keepaliveIsDefault: Bool? = nil
  ) {
    self.name = name
    self.isExplicit = isExplicit
    self.servers = servers
    self.keepalive = keepalive
    self.keepaliveTimeout = keepaliveTimeout
    self.keepaliveRequests = keepaliveRequests
    self.hasZone = hasZone
    self.location = location
    self.retry = retry
    self.keepaliveIsDefault = keepaliveIsDefault
  }
}

/// What follows a failed try.
public struct RetryRules: Hashable, Codable, Sendable {
  /// The words of `proxy_next_upstream`.
  public var nextUpstream: [String]
  /// Of `proxy_next_upstream_tries`; 0: no limit.
  public var tries: Int
  /// `proxy_request_buffering`: a request's body is there in full before it is sent.
  public var buffersRequests: Bool

  public init(nextUpstream: [String], tries: Int = 0, buffersRequests: Bool = true) {
    self.nextUpstream = nextUpstream
    self.tries = tries
    self.buffersRequests = buffersRequests
  }
}

/// One `server` of an upstream group.
public struct UpstreamServer: Hashable, Codable, Sendable {
  /// As written: `10.0.1.11:8080`, `backend1.local`, `unix:/run/app.sock`.
  public var name: String
  /// Every address that the name had when it was looked up.
  public var peers: [UpstreamPeer]
  /// Failures within `failTimeout` that disable it; 0: never.
  public var maxFails: Int
  public var failTimeout: TimeSpan
  public var isBackup: Bool
  public var isDown: Bool
  /// `max_conns`: connections at once, of each worker where the group has no zone; nil: no limit.
  public var maxConnections: Int?

  public init(
    name: String, peers: [UpstreamPeer], maxFails: Int = 1, failTimeout: TimeSpan = .seconds(10),
    isBackup: Bool = false, isDown: Bool = false, maxConnections: Int? = nil
  ) {
    self.name = name
    self.peers = peers
    self.maxFails = maxFails
    self.failTimeout = failTimeout
    self.isBackup = isBackup
    self.isDown = isDown
    self.maxConnections = maxConnections
  }
}
