import BackendProbe
import Evidence
import KernelProbe
import LinuxHost
import NginxProbe
import PacketProbe
import PortProbe
import ProcessProbe
import SocketProbe
import TraceProbe

/// The probes of a live session and what goes between them: a new socket's inode is looked up among
/// the processes, a reload changes what is watched.
final class Watch {
  let host = hostName()
  let inbox = Inbox()
  private(set) var blindSpots: [BlindSpot] = []
  /// Those that could be opened.
  private(set) var probes: [any Probe] = []
  let packets: PacketProbe
  private let sockets: SocketProbe
  private let trace: TraceProbe
  private let processes = ProcessProbe()
  private let backendLogs: BackendProbe
  private let backends = BackendInodes()
  private let ports: PortProbe?
  private let nginx: NginxProbe
  private let extraEndpoints: [Endpoint]
  private let options: AttachCommand
  /// Each master's upstreams as they are now.
  private var endpointsOf: [Int32: [Endpoint]] = [:]
  private var pathsOf: [Int32: [String]] = [:]

  /// - Parameter recorder: gets the headers of every SYN, FIN and RST.
  init(_ targets: Targets, options: AttachCommand, recorder: Recorder?) throws {
    let endpoints = targets.endpoints
    extraEndpoints = targets.extraEndpoints
    self.options = options
    var capture = PacketProbe.Settings()
    capture.device = options.interface
    capture.mode = options.capture.mode
    capture.bufferSize = options.buffer.bytes
    capture.headerSink = recorder
    packets = PacketProbe(
      host: host, upstreams: UpstreamFilter(endpoints: Set(endpoints)), settings: capture)
    sockets = SocketProbe(
      watching: endpoints,
      paths: Self.paths(
        targets.instances.flatMap(\.upstreams).flatMap(\.servers).flatMap(\.peers)))
    trace = TraceProbe(watching: endpoints)
    backendLogs = BackendProbe(
      options.backendLog.map(\.source), host: host, utcOffset: utcOffset(at: currentTime()))
    ports =
      options.probeInterval.span > .zero
      ? PortProbe(targets: endpoints, interval: options.probeInterval.span) : nil
    nginx = NginxProbe(
      targets.loaded, logs: targets.errorLogs,
      options: LogOptions(host: host, keepsQueryStrings: options.keepQueries))
  }

  /// Opens every source that can be opened. Packets and the error log are what a session is for; what
  /// else is missing is a blind spot.
  /// - Throws: `ProbeError` of the packets or the error log.
  func open() throws {
    try nginx.open()
    try packets.open()
    probes = [nginx, packets]
    tryOpen(KernelProbe(), KernelProbe.blindSpot)
    tryOpen(processes, ProcessProbe.blindSpot)
    tryOpen(sockets, SocketProbe.blindSpot)
    tryOpen(trace, TraceProbe.blindSpot)
    tryOpen(backendLogs, BackendProbe.blindSpot)
    if let ports { probes.append(ports) }
  }

  private func tryOpen(_ probe: any Probe, _ blindSpot: (ProbeError) -> BlindSpot) {
    do {
      try probe.open()
      probes.append(probe)
    } catch let error as ProbeError {
      blindSpots.append(blindSpot(error))
    } catch {
      blindSpots.append(
        BlindSpot(id: probe.name, what: "\(probe.name) could not be watched", cost: "\(error)"))
    }
  }

  func start() throws {
    let (inbox, processes, trace) = (inbox, processes, trace)
    let (backends, backendLogs) = (backends, backendLogs)
    for probe in probes {
      try probe.start { observation in
        // At once, and not by way of the session's thread: a worker may die within milliseconds.
        switch observation.fact {
        case .socket(let sighting):
          if sighting.role != .originator { backends.add(sighting.inode) }
          processes.find(inodes: CollectionOfOne(sighting.inode))
        case .unixSocket(let sighting):
          if sighting.role != .originator { backends.add(sighting.inode) }
          processes.find(inodes: CollectionOfOne(sighting.inode))
        case .process(let sighting):
          trace.know(sighting.process)
          if backends.hold(sighting.inodes) { backendLogs.look(at: sighting.process) }
        default: break
        }
        inbox.put(observation)
      }
    }
  }

  /// What a person at the terminal should know at once, and not only from the blind spots at the end.
  func warning(_ observation: Observation) -> String? {
    guard case .blindSpot(let spot) = observation.fact,
      spot.id == lightCaptureBlindSpot && options.capture == .auto
        || spot.id == captureStoppedBlindSpot
    else { return nil }
    return "\(spot.what): \(spot.cost)"
  }

  /// The UNIX sockets among some peers.
  private static func paths(_ peers: [UpstreamPeer]) -> [String] {
    peers.compactMap { if case .unix(let path) = $0 { path } else { nil } }
  }

  /// Follows a reload: the new upstreams are captured, looked up and probed. After an error its
  /// upstream is probed more often.
  func follow(_ observation: Observation) {
    if case .nginxLine(let line) = observation.fact, line.message.isUpstreamFailure {
      if let endpoint = line.upstream?.endpoint { ports?.hurry(endpoint) }
      backendLogs.noteFailure(of: line.upstream)
      return
    }
    guard case .nginx(let instance) = observation.fact else { return }
    let peers = instance.upstreams.flatMap(\.servers).flatMap(\.peers)
    endpointsOf[instance.master ?? 0] = peers.compactMap(\.endpoint)
    let endpoints = Set(endpointsOf.values.joined()).union(extraEndpoints).sorted()
    packets.watch(UpstreamFilter(endpoints: Set(endpoints)))
    pathsOf[instance.master ?? 0] = Self.paths(peers)
    sockets.watch(endpoints, paths: Set(pathsOf.values.joined()))
    trace.watch(endpoints)
    ports?.probe(endpoints)
  }
}
