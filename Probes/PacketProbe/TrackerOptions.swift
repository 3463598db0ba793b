public import Evidence

/// Which endpoints are upstreams: their side of a connection is the responder.
public struct UpstreamFilter: Hashable, Sendable {
  /// Endpoints by address and port.
  public var endpoints: Set<Endpoint>
  /// Ports on any address.
  public var ports: Set<UInt16>

  public init(endpoints: Set<Endpoint> = [], ports: Set<UInt16> = []) {
    self.endpoints = endpoints
    self.ports = ports
  }

  public var isEmpty: Bool { endpoints.isEmpty && ports.isEmpty }

  func contains(_ address: Segment.Address, _ port: UInt16) -> Bool {
    if ports.contains(port) { return true }
    let address = IPAddress(high: address.high, low: address.low)
    return endpoints.contains(Endpoint(address: address, port: port))
  }
}

/// How connections are followed: when they are over, and when they are told.
public struct TrackerOptions: Sendable {
  /// The upstreams to follow; nil for every connection.
  public var upstreams: UpstreamFilter?
  /// Beyond this number the connection that was idle longest is forgotten.
  public var maximumConnections = 1 << 20
  /// A payload that the snap length cut counts as missing, as it does in Zeek (letter `g`).
  public var cutPayloadIsGap = true
  /// Copies of a packet that another interface saw within this time are dropped; nil to keep them.
  public var duplicateWindow: TimeSpan? = .microseconds(500)

  /// Whether idle times before a reuse are counted (`ReuseGaps`).
  public var countsReuse = false

  // Zeek's timers (scripts/base/init-bare.zeek), by packet time.
  /// `tcp_SYN_timeout`: after this a connection is looked at for the first time.
  public var synTimeout = TimeSpan.seconds(5)
  /// `tcp_session_timer`: and then again after this.
  public var sessionTimer = TimeSpan.seconds(6)
  /// `tcp_connection_linger`: a half-closed one without packets for so long is over.
  public var connectionLinger = TimeSpan.seconds(5)
  /// `tcp_attempt_delay`: an unanswered SYN is over.
  public var attemptDelay = TimeSpan.seconds(5)
  /// `tcp_close_delay`: a closed connection is kept so long for what trails in.
  public var closeDelay = TimeSpan.seconds(5)
  /// `tcp_inactivity_timeout`.
  public var inactivityTimeout = TimeSpan.seconds(300)
  /// The same for FTP, SSH, telnet and rlogin by port (scripts/base/protocols/conn/inactivity.zeek).
  public var interactiveInactivityTimeout = TimeSpan.seconds(3600)
  /// `udp_inactivity_timeout`, which Zeek uses until the handshake is over.
  public var handshakeInactivityTimeout = TimeSpan.seconds(60)

  /// Connections are told when they close, and again when they change; not only when they end.
  public var live: Live?

  public struct Live: Sendable {
    /// From the final close (both FINs, or a RST) to the report, for what trails in.
    public var linger = TimeSpan.milliseconds(50)
    /// From the first FIN to the report, though the other side be silent.
    public var halfClosed = TimeSpan.milliseconds(200)
    /// From a SYN to the report that nobody answered.
    public var unanswered = TimeSpan.seconds(1)
    /// Ordinary ends that are told one by one each second; the rest is counted.
    public var ordinaryReports = 200

    public init() {}
  }

  public init() {}

  /// What a capture file gets: Zeek's timers, and a connection is told once, when it ends.
  public static var offline: Self { Self() }

  /// What live capture gets: closes are told at once, and a quiet keepalive connection stays known.
  public static var attached: Self {
    var options = Self()
    options.cutPayloadIsGap = false
    options.countsReuse = true
    options.attemptDelay = .seconds(150)
    // Tens of thousands may close each second; what trails in comes within round trips.
    options.closeDelay = .seconds(2)
    options.inactivityTimeout = .seconds(24 * 3600)
    options.handshakeInactivityTimeout = .seconds(180)
    options.live = Live()
    return options
  }
}

/// The tracker's books.
public struct TrackerCounters: Hashable, Sendable {
  /// Every packet handed in.
  public var packets: UInt64 = 0
  /// Those that were TCP segments of a followed connection.
  public var segments: UInt64 = 0
  /// TCP of no followed upstream.
  public var otherTCP: UInt64 = 0
  public var connections: UInt64 = 0
  /// Forgotten for want of room.
  public var evicted: UInt64 = 0
  /// Copies seen on another interface.
  public var duplicates: UInt64 = 0
  public var notIP: UInt64 = 0
  public var notTCP: UInt64 = 0
  /// Fragments other than first ones.
  public var fragments: UInt64 = 0
  public var vxlan: UInt64 = 0
  public var gre: UInt64 = 0
  public var ipInIP: UInt64 = 0
  /// Cut before the end of the TCP header.
  public var truncated: UInt64 = 0
  public var malformed: UInt64 = 0
  /// Of a link type that is not known.
  public var unknownLink: UInt64 = 0

  public init() {}

  public var tunnels: UInt64 { vxlan + gre + ipInIP }
}
