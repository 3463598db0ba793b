public import Evidence

/// One rule: pure over the configuration (and what was measured), so that a file and a running nginx
/// are judged alike.
public struct AuditRule: Sendable {
  /// Stable, as `keepalive-not-used`.
  public var id: String
  /// One sentence, for a list of rules.
  public var summary: String
  let check: @Sendable (AuditSubject) -> [AuditFinding]
}

/// Judges an nginx configuration by what makes upstream connections close at the wrong moment, and by
/// what hides it. The rules are those of nginx's own source and of the causes that upclose knows.
public enum Audit {
  /// Every rule, in the order in which findings of equal weight are told.
  public static let rules: [AuditRule] = [
    .keepaliveNotUsed, .keepaliveUnsupported, .keepaliveTimeout, .keepaliveRequests,
    .changedDefaults,
    .nonIdempotentRetries, .racedPostsFail, .nextUpstreamWithoutError, .unbufferedRequests,
    .raceDisablesPeers, .stateNotShared, .nameWithSeveralAddresses, .statusDisablesPeers,
    .maxConns, .errorLogLevel, .logFormat, .noSocketKeepalive, .connectTimeout, .unixSocket,
    .proxyBufferSize, .shutdownTimeout, .ephemeralPorts, .earlyAnswers,
    .schemeMismatch, .noServerName, .descriptors, .uwsgiBufferSize, .readTimeoutBelowMaster,
  ]

  /// Every finding, the gravest first; the same fault in several places is one finding.
  public static func findings(in subject: AuditSubject) -> [AuditFinding] {
    var result: [AuditFinding] = []
    for rule in rules {
      var merged: [AuditFinding] = []
      for finding in rule.check(subject) {
        let known = merged.firstIndex {
          $0.severity == finding.severity && $0.message == finding.message && $0.fix == finding.fix
        }
        if let known {
          let place = finding.location
          if merged[known].location != place, !merged[known].also.contains(place) {
            merged[known].also.append(place)
          }
        } else {
          merged.append(finding)
        }
      }
      result += merged
    }
    let order = result.enumerated().sorted {
      ($1.element.severity.rawValue, $0.offset) < ($0.element.severity.rawValue, $1.offset)
    }
    return order.map(\.element)
  }
}

/// What a session measured of a backend.
public struct MeasuredBackend: Hashable, Sendable {
  /// As in the session's report: an address with its port, or a group's name.
  public var upstream: String
  /// How long it leaves a connection idle before it closes it.
  public var idleTimeout: TimeSpan?
  /// Errors by cause identifier.
  public var causes: [String: Int]

  public init(upstream: String, idleTimeout: TimeSpan? = nil, causes: [String: Int] = [:]) {
    self.upstream = upstream
    self.idleTimeout = idleTimeout
    self.causes = causes
  }
}

/// What only the host can tell of its limits; nil where it was not asked (a file from elsewhere).
public struct HostFacts: Hashable, Sendable {
  /// `net.ipv4.ip_local_port_range`.
  public var localPorts: ClosedRange<Int>?
  /// `net.ipv4.tcp_keepalive_time`.
  public var tcpKeepaliveTime: TimeSpan?
  /// `net.core.somaxconn`.
  public var somaxconn: Int?
  /// The soft limit on descriptors that the workers run with.
  public var workerDescriptors: Int?
  /// UNIX sockets of upstreams, by path: why nobody can connect to them now.
  public var deadSockets: [String: String] = [:]
  public var processors: Int?

  public init() {}
}
