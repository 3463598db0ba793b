public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Looks, four times a second, at the TCP sockets of the watched endpoints in every network
/// namespace of the host: who listens there and how long its queue is, and which flows are open,
/// each with the inode by which its process can be found. Between two looks the kernel tells of each
/// socket that it lets go of.
///
/// Yields `.socket` and `.unixSocket` for what is new or has changed, `.socketDeath`, `.counters`
/// (sources `sockets`, and `network` for what the kernel counts) once a second when something has
/// changed, and `.blindSpot` where it may not look. A flow that lives for less than the interval may be
/// missed by all but its death.
public final class SocketProbe: Probe {
  public let name = "sockets"
  private let host: String
  private let interval: TimeSpan
  private let finder: NamespaceFinder
  private let maximumNamespaces: Int
  private let watch: Mutex<Watch>
  private let namespaces = Mutex<[NetworkNamespace]>([])
  private let refusal = Mutex<BlindSpot?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - watching: the upstreams' addresses and ports.
  ///   - paths: of the upstreams' UNIX sockets.
  ///   - host: named in every observation.
  ///   - interval: between two looks, at least 10 ms.
  ///   - maximumNamespaces: how many network namespaces are looked into.
  ///   - proc: where the process table is mounted.
  public init(
    watching: some Sequence<Endpoint>, paths: some Sequence<String> = [],
    host: String = hostName(),
    interval: TimeSpan = .milliseconds(250), maximumNamespaces: Int = 256, proc: String = "/proc"
  ) {
    self.host = host
    self.interval = max(interval, .milliseconds(10))
    self.maximumNamespaces = max(1, maximumNamespaces)
    finder = NamespaceFinder(proc: proc)
    watch = Mutex(Watch(watching, paths: paths))
  }

  deinit { stop() }

  /// Replaces the watched endpoints, also while it runs.
  public func watch(_ endpoints: some Sequence<Endpoint>, paths: some Sequence<String> = []) {
    let new = Watch(endpoints, paths: paths)
    watch.withLock { $0 = new }
  }

  /// Makes a socket in each network namespace; the calling thread is in its own again when this
  /// returns.
  /// - Throws: `ProbeError` when the kernel offers no socket diagnosis here.
  public func open() throws {
    let own = finder.current()
    let ports = watch.withLock { $0.ports }
    var opened = [try NetworkNamespace(inode: own, ports: ports)]
    var refused = 0
    for (inode, pid) in finder.find() where inode != own {
      guard opened.count < maximumNamespaces else {
        refused += 1
        continue
      }
      if let namespace = finder.openOrView(inode, ofProcess: pid, ports: ports) {
        opened.append(namespace)
      }
    }
    namespaces.withLock { $0 = opened }
    if refused > 0 { refusal.withLock { $0 = Self.namespaceBlindSpot(refused) } }
  }

  /// Once it is open: whether the kernel tells of the sockets that it lets go of, and how many network
  /// namespaces are looked into.
  public var reach: (hearsDeaths: Bool, namespaces: Int) {
    namespaces.withLock { opened in (opened.contains { $0.deaths != nil }, opened.count) }
  }

  /// - Throws: `ProbeError` when it was not opened, or there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    let opened = namespaces.withLock { namespaces in
      defer { namespaces = [] }
      return namespaces
    }
    guard !opened.isEmpty else {
      throw ProbeError(doing: "look at sockets", reason: "it was not opened")
    }
    let spot = refusal.withLock { $0 }
    let started = try ProbeThread.start("upclose-sockets") { [self] thread in
      var watcher = SocketWatcher(
        host: host, namespaces: opened, finder: finder, maximumNamespaces: maximumNamespaces,
        blindSpot: spot, sink: sink)
      watcher.run(thread, interval: interval) { [self] in watch.withLock { $0 } }
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    running?.stop()
    namespaces.withLock { $0 = [] }
  }

  /// What a session loses when this probe could not be opened.
  public static func blindSpot(_ error: ProbeError) -> BlindSpot {
    BlindSpot(
      id: "sockets", what: "the sockets of this host were not seen: \(error.reason)",
      cost: "no flow's owner is known, so a killed process looks like a close by choice",
      remedy: error.remedy)
  }

  static func namespaceBlindSpot(_ count: Int) -> BlindSpot {
    BlindSpot(
      id: "network-namespaces",
      what: "\(count) network namespaces of this host were not looked into: too many",
      cost: "backends in them (containers) have no known owner")
  }
}
