import Correlator
import Evidence

/// Builds observations as the probes would have made them, around a fixed moment.
struct Story {
  static let start = Timestamp(iso8601: "2026-11-24T10:00:00Z") ?? Timestamp(nanoseconds: 0)
  static let a = backend(2)
  static let b = backend(3)

  static func backend(_ last: UInt32) -> Endpoint {
    Endpoint(address: IPAddress(v4: 0x0ae7_0700 | last), port: 9001)
  }

  var correlator = Correlator()
  var given: [Incident] = []
  /// Observations are kept in `recorded` and not shown to the correlator.
  var isRecording = false
  private(set) var recorded: [Observation] = []
  private var nextConnection: UInt64 = 1

  init(isRecording: Bool = false) { self.isRecording = isRecording }

  /// Milliseconds after the start.
  func at(_ milliseconds: Double) -> Timestamp {
    Self.start + TimeSpan(seconds: milliseconds / 1000)
  }

  mutating func observe(_ fact: Observation.Fact, at milliseconds: Double) {
    observe(Observation(host: "test", time: TimeEstimate(exactly: at(milliseconds)), fact: fact))
  }

  private mutating func observe(_ observation: Observation) {
    if isRecording { recorded.append(observation) } else { correlator.observe(observation) }
  }

  mutating func advance(to milliseconds: Double) {
    given += correlator.advance(to: at(milliseconds))
  }

  mutating func finish() -> Summary {
    finishQuietly()
    return correlator.summary()
  }

  mutating func finishQuietly() { given += correlator.finish() }

  /// nginx with an upstream "pair" of both backends.
  mutating func nginx(
    workers: [Int32] = [100], hasZone: Bool = false, keepaliveTimeout: TimeSpan = .seconds(60),
    keepaliveIsDefault: Bool = false
  ) {
    let servers = [Self.a, Self.b].map {
      UpstreamServer(name: "\($0)", peers: [.tcp($0)])
    }
    observe(
      .nginx(
        NginxInstance(
          master: 99, workers: workers, version: "1.22.1",
          configurationPath: "/etc/nginx/nginx.conf",
          upstreams: [
            UpstreamGroup(
              name: "pair", servers: servers, keepalive: 16, keepaliveTimeout: keepaliveTimeout,
              keepaliveRequests: 1000, hasZone: hasZone, location: "/etc/nginx/nginx.conf:12",
              keepaliveIsDefault: keepaliveIsDefault)
          ])), at: 0)
  }

  /// Everything is watched: packets, the kernel's log, processes.
  mutating func watchAll() {
    for source in ["packets", "kernel", "processes"] {
      observe(.counters(Counters(source: source, seen: 0, lost: 0)), at: 0)
    }
  }

  /// An error that nginx wrote at that moment, seen as it was written.
  mutating func error(
    _ message: NginxMessage, _ peer: UpstreamPeer, at milliseconds: Double, errno: Int32? = nil,
    request: String = "POST /x HTTP/1.1", uri: String? = "/x", worker: Int32 = 100,
    text: String? = nil
  ) {
    let time = at(milliseconds)
    let line = NginxLine(
      message: message, text: text ?? "\(message)", level: "error", stamped: time, worker: worker,
      connection: 7, errno: errno, request: request, scheme: "http", upstream: peer,
      upstreamURI: uri)
    observe(
      Observation(
        host: "test",
        time: TimeEstimate(best: time, earliest: time - .milliseconds(20), latest: time),
        fact: .nginxLine(line)))
  }

  /// A connection from nginx to a backend; the last packet is 0.5 ms before `milliseconds`, unless
  /// changed.
  @discardableResult
  mutating func connection(
    _ backend: Endpoint, at milliseconds: Double, _ change: (inout Connection) -> Void
  ) -> Connection {
    let id = nextConnection
    nextConnection += 1
    var connection = Connection(
      id: id,
      flow: Flow(
        originator: Endpoint(address: IPAddress(v4: 0x0ae7_0701), port: UInt16(40000 + id)),
        responder: backend),
      connState: .sf, history: "ShADadFf", firstPacket: at(milliseconds - 50),
      lastPacket: at(milliseconds - 0.5), closedAt: at(milliseconds - 0.5), closer: .responder,
      manner: .fin, phase: .awaitingResponse, requestDelivery: .acknowledged, exchanges: 1)
    change(&connection)
    observe(.connection(connection), at: milliseconds)
    return connection
  }

  /// A request that the backend took and answered with FIN.
  @discardableResult
  mutating func closedUnanswered(
    _ backend: Endpoint, at milliseconds: Double, request: String? = "POST /x"
  ) -> Connection {
    let (sent, fin) = (at(milliseconds - 3), at(milliseconds - 0.5))
    return connection(backend, at: milliseconds) {
      $0.requestSentAt = sent
      $0.responderFIN = fin
      $0.request = request
    }
  }

  /// The stale keepalive race: FIN, then the request, then the passive reset.
  @discardableResult
  mutating func stale(
    _ backend: Endpoint, at milliseconds: Double, request: String? = "POST /x",
    idle: TimeSpan = .seconds(3), served: Int = 1
  ) -> Connection {
    let (fin, sent, reset) = (at(milliseconds - 20), at(milliseconds - 1), at(milliseconds - 0.6))
    return connection(backend, at: milliseconds) {
      $0.connState = .rstr
      $0.history = "ShADadfDr"
      $0.closedAt = fin
      $0.phase = .idle
      $0.requestDelivery = .rejected
      $0.idleBeforeClose = idle
      $0.exchanges = served + 1
      $0.requestSentAt = sent
      $0.requestAfterFIN = true
      $0.responderFIN = fin
      $0.responderReset = Reset(time: reset, manner: .passiveReset)
      $0.request = request
    }
  }

  mutating func refused(_ backend: Endpoint, at milliseconds: Double) {
    let reset = at(milliseconds - 0.5)
    connection(backend, at: milliseconds) {
      $0.connState = .rej
      $0.history = "Sr"
      $0.manner = .refused
      $0.phase = .connecting
      $0.requestDelivery = .neverSent
      $0.responderReset = Reset(time: reset, manner: .refused)
      $0.exchanges = 0
    }
  }

  /// The backend closes an idle connection and nginx lets go: healthy.
  mutating func idleClose(_ backend: Endpoint, at milliseconds: Double, idle: TimeSpan) {
    connection(backend, at: milliseconds) {
      $0.phase = .idle
      $0.idleBeforeClose = idle
      $0.requestDelivery = .unknown
    }
  }

  /// The backend closes right after its last answer, and nginx lets go: its request limit.
  mutating func limitClose(_ backend: Endpoint, at milliseconds: Double, served: Int) {
    connection(backend, at: milliseconds) {
      $0.phase = .idle
      $0.idleBeforeClose = .microseconds(200)
      $0.exchanges = served
      $0.requestDelivery = .unknown
    }
  }

  /// The process that holds the backend's end of a connection, seen before it ended.
  mutating func owner(
    _ connection: Connection, pid: Int32, at milliseconds: Double = 1, parent: Int32? = nil,
    command: String = "app"
  ) {
    let inode = 1_000_000 + connection.id
    observe(
      .socket(
        SocketSighting(
          role: .responder, local: connection.flow.responder, remote: connection.flow.originator,
          inode: inode)), at: milliseconds)
    observe(
      .process(
        ProcessSighting(
          process: process(pid, parent: parent, command: command), inodes: [inode])),
      at: milliseconds)
  }

  private func process(_ pid: Int32, parent: Int32?, command: String) -> ProcessIdentity {
    ProcessIdentity(
      pid: pid, command: command, parent: parent, startTicks: parent.map { _ in UInt64(pid) * 100 })
  }

  /// Workers of one master, behind the first backend's port.
  mutating func pool(
    of parent: Int32, pids: [Int32], at milliseconds: Double = 0, command: String = "app"
  ) {
    observe(
      .socket(SocketSighting(role: .listener, local: Self.a, inode: 777)), at: milliseconds)
    for pid in [parent] + pids {
      observe(
        .process(
          ProcessSighting(
            process: process(pid, parent: pid == parent ? nil : parent, command: command),
            inodes: [777])), at: milliseconds)
    }
  }

  mutating func exit(
    _ pid: Int32, parent: Int32, code: Int32, at milliseconds: Double, command: String = "app"
  ) {
    observe(
      .processExit(
        ProcessExit(process: process(pid, parent: parent, command: command), code: code)),
      at: milliseconds)
  }

  mutating func oomKill(pid: Int32, at milliseconds: Double) {
    let kill = OOMKill(
      pid: pid, command: "app", isMemoryCgroup: true, cgroup: "/app", residentBytes: 60 << 20,
      limitBytes: 64 << 20)
    observe(.kernel(KernelEvent(kind: .oomKill(kill), text: "Killed process")), at: milliseconds)
  }
}
