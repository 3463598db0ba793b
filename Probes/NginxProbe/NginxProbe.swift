public import Evidence
import LinuxHost
import Synchronization

/// Watches nginx: follows its error logs, and notices when it is reloaded or restarted.
///
///     let found = NginxDiscovery().find()
///     let probe = NginxProbe(try found.map { try $0.load() }, options: LogOptions())
///     try probe.open()
///     try probe.start { observation in ... }
///
/// It starts with an `.nginx` observation and the blind spots of each instance.
public final class NginxProbe: Probe {
  /// Reads an instance's configuration again, after its workers changed; nil when it is gone.
  public typealias Reload = @Sendable (LoadedNginx) -> LoadedNginx?

  public let name = "nginx"
  private let instances: [LoadedNginx]
  private let options: LogOptions
  private let follower: ErrorLogFollower
  private let discovery: NginxDiscovery
  private let reload: Reload
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - instances: whose logs are followed.
  ///   - logs: followed beside them.
  ///   - reload: nil: the configuration is read as at the start. It is called on the probe's own
  ///     thread and may take its time.
  public init(
    _ instances: [LoadedNginx], logs: [String] = [], options: LogOptions,
    discovery: NginxDiscovery = NginxDiscovery(), reload: Reload? = nil
  ) {
    self.instances = instances
    self.options = options
    self.discovery = discovery
    self.reload = reload ?? { Self.readAgain($0, discovery) }
    var paths: [String] = []
    for path in logs + instances.flatMap(\.instance.errorLogs) where !paths.contains(path) {
      paths.append(path)
    }
    follower = ErrorLogFollower(
      paths, accessLogs: instances.flatMap(\.accessLogs), options: options)
  }

  deinit { stop() }

  /// Opens the logs, at their ends.
  /// - Throws: `ProbeError` when there is none that can be followed.
  public func open() throws { try follower.open() }

  public func start(_ sink: @escaping ObservationSink) throws {
    for loaded in instances { Self.tell(loaded, except: [], options.host, sink) }
    try follower.start(sink)
    let watch = Watch(
      instances: instances, host: options.host, follower: follower, discovery: discovery,
      reload: reload)
    guard instances.contains(where: { $0.found != nil }) else { return }
    let thread = try ProbeThread.start("upclose-nginx") { thread in
      var watch = watch
      watch.measure(sink)
      while thread.sleep(milliseconds: 1000) {
        watch.look(sink)
        watch.measure(sink)
      }
    }
    self.thread.withLock { $0 = thread }
  }

  public func stop() {
    thread.withLock { $0.take() }?.stop()
    follower.stop()
  }

  /// The default of `reload`: the same master, or one that took its place.
  private static func readAgain(
    _ loaded: LoadedNginx, _ discovery: NginxDiscovery
  ) -> LoadedNginx? {
    guard let found = loaded.found else { return nil }
    if found.isRunning { return try? found.load() }
    let successor = discovery.find().first {
      $0.configurationPath == found.configurationPath
        && $0.networkNamespace == found.networkNamespace
    }
    return try? successor?.load()
  }

  fileprivate static func tell(
    _ loaded: LoadedNginx, except known: [BlindSpot], _ host: String, _ sink: ObservationSink
  ) {
    let now = TimeEstimate(exactly: currentTime())
    sink(Observation(host: host, time: now, fact: .nginx(loaded.instance)))
    for spot in loaded.blindSpots where !known.contains(spot) {
      sink(Observation(host: host, time: now, fact: .blindSpot(spot)))
    }
  }
}

/// Which workers each instance has, and had.
private struct Watch: Sendable {
  private var watched: [(loaded: LoadedNginx, workers: [Int32]?)]
  private let host: String
  private let follower: ErrorLogFollower
  private let discovery: NginxDiscovery
  private let reload: NginxProbe.Reload
  private var rounds = 0
  private var nextStatus = 0
  private var failedStatuses = 0
  private var warned: Set<String> = []

  init(
    instances: [LoadedNginx], host: String, follower: ErrorLogFollower, discovery: NginxDiscovery,
    reload: @escaping NginxProbe.Reload
  ) {
    // Those that shut down already at the start are no news when they are gone.
    watched = instances.filter { $0.found != nil }.map { loaded in
      (loaded, loaded.found?.workers(shuttingDown: false))
    }
    self.host = host
    self.follower = follower
    self.discovery = discovery
    self.reload = reload
  }

  /// Asks `stub_status` where there is one, and what the workers have in use.
  mutating func measure(_ sink: ObservationSink) {
    rounds += 1
    func tell(_ fact: Observation.Fact) {
      sink(Observation(host: host, time: TimeEstimate(exactly: currentTime()), fact: fact))
    }
    let table = ProcessTable(root: discovery.proc)
    for (loaded, workers) in watched {
      // A page that does not answer is asked less and less often.
      if rounds >= nextStatus, let page = StatusPage(loaded.directives) {
        if let status = page.fetch() {
          failedStatuses = 0
          tell(.counters(status.counters))
        } else {
          failedStatuses = min(failedStatuses + 1, 6)
          nextStatus = rounds + 1 << failedStatuses
        }
      }
      guard rounds % 5 == 1 else { continue }
      let limit = NginxSettings.workerConnections(loaded.directives)
      for pid in workers ?? [] {
        guard let use = WorkerUse(pid: pid, connectionLimit: limit, in: table) else { continue }
        tell(.counters(use.counters))
        if let warning = use.warning, warned.insert("\(warning.id) \(pid)").inserted {
          tell(.blindSpot(warning))
        }
      }
    }
  }

  /// nginx replaces all its workers at a reload, and one that crashed.
  mutating func look(_ sink: ObservationSink) {
    for index in watched.indices {
      guard let found = watched[index].loaded.found else { continue }
      let workers = found.isRunning ? found.workers(shuttingDown: false) : nil
      guard workers != watched[index].workers || workers == nil else { continue }
      watched[index].workers = workers
      // A master that ended may have a successor by now.
      let known = watched[index].loaded.blindSpots
      if let fresh = reload(watched[index].loaded) {
        // Workers that changed meanwhile are news at the next look.
        watched[index] = (fresh, workers ?? fresh.found?.workers(shuttingDown: false))
      } else if let workers {
        // Its configuration cannot be read now; that it has other workers is known all the same.
        watched[index].loaded.instance.workers = workers
        let unread = BlindSpot(
          id: "nginx-reload",
          what: "nginx has new workers, its configuration could not be read again",
          cost: "upstreams that are new since are not watched", remedy: "start upclose again")
        if !known.contains(unread) { watched[index].loaded.blindSpots.append(unread) }
      } else {
        continue
      }
      follower.follow(
        watched[index].loaded.instance.errorLogs, accessLogs: watched[index].loaded.accessLogs)
      NginxProbe.tell(watched[index].loaded, except: known, host, sink)
    }
  }
}
