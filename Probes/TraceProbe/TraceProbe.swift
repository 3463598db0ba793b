import CLinux
public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Listens to the kernel's tracepoints, without BPF: which process connected, closed or aborted each
/// connection of the watched endpoints, which resets this host sent and why, who sent a signal that
/// ends processes, and which process became another program. Nothing is sampled.
///
/// Yields `.socketAct`, `.resetSent`, `.signal`, `.processReplaced`, `.kernel` (an OOM victim, with the
/// exact time), `.counters` (source `trace`) and `.blindSpot`. It needs root for `open` and no privilege
/// after it. Its tracing instance is its own, and is removed by `stop`, after a crash at once (see
/// `TraceInstance`), or by the next start.
public final class TraceProbe: Probe {
  public let name = "trace"
  private let host: String
  private let table: ProcTable
  private let paths: [String]
  private let inbox: TraceInbox
  private let opened = Mutex<Opened?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  private struct Opened: Sendable {
    var instance: TraceInstance
    var formats: [TraceDecoder.Event: TraceFormat]
    var layout: TracePageLayout
    var savedCommands: Int32
    /// As it was when the events began.
    var census: ThreadCensus
  }

  /// - Parameters:
  ///   - watching: the upstreams' addresses and ports.
  ///   - host: named in every observation.
  ///   - proc: where the process table is mounted.
  ///   - tracing: where tracefs may be mounted already.
  public init(
    watching: some Sequence<Endpoint>, host: String = hostName(), proc: String = "/proc",
    tracing: [String] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
  ) {
    self.host = host
    table = ProcTable(root: proc)
    paths = tracing
    inbox = TraceInbox(Set(watching))
  }

  deinit { stop() }

  /// Replaces the watched endpoints, also while it runs.
  public func watch(_ endpoints: some Sequence<Endpoint>) { inbox.watch(Set(endpoints)) }

  /// Tells it of a process behind an endpoint, so that it is known when it is already gone. Safe from
  /// any thread.
  public func know(_ process: ProcessIdentity) { inbox.know(process) }

  /// - Throws: `ProbeError` when the kernel offers no tracepoints here.
  public func open() throws {
    let root = try TraceRoot(paths: paths)
    guard let layout = root.read("events/header_page").flatMap({ TracePageLayout($0) }) else {
      throw ProbeError(doing: "read tracefs events/header_page", reason: "it is not understood")
    }
    let ports = Set(inbox.endpoints.map(\.port))
    var formats: [TraceDecoder.Event: TraceFormat] = [:]
    var filters: [String: String] = [:]
    for event in TraceDecoder.Event.allCases {
      guard let format = root.format(event.rawValue) else { continue }
      formats[event] = format
      filters[event.rawValue] = TraceFilter.text(event, format, ports: ports)
    }
    guard formats[.state] != nil else {
      throw ProbeError(
        doing: "find the tracepoint \(TraceDecoder.Event.state.rawValue)",
        reason: "this kernel has none", remedy: "use Linux 4.16 or newer")
    }
    let saved = openat(root.descriptor, "saved_cmdlines", O_RDONLY | O_CLOEXEC)
    let instance: TraceInstance
    do {
      instance = try TraceInstance(root, events: filters)
    } catch {
      if saved >= 0 { close(saved) }
      throw error
    }
    var census = ThreadCensus(table: table, savedCommands: saved)
    census.begin()
    release()
    opened.withLock {
      $0 = Opened(
        instance: instance, formats: formats, layout: layout, savedCommands: saved,
        census: census)
    }
  }

  /// - Throws: `ProbeError` when it was not opened, or there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    guard let opened = opened.withLock({ $0 }) else {
      throw ProbeError(doing: "follow tracepoints", reason: "it was not opened")
    }
    let (host, inbox) = (host, inbox)
    if let spot = Self.blindSpot(without: opened.formats) {
      sink(
        Observation(
          host: host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot)))
    }
    let started = try ProbeThread.start("upclose-trace") { thread in
      let decoder = TraceDecoder(opened.formats)
      let interpreter = TraceInterpreter(
        census: opened.census, reasons: decoder.reasons, watching: inbox.endpoints,
        ownProcess: getpid())
      var reader = TraceReader(
        host: host, instance: opened.instance, decoder: decoder, layout: opened.layout,
        inbox: inbox, interpreter: interpreter, sink: sink)
      reader.run(thread)
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    running?.stop()
    release()
  }

  /// Once it is open: what this kernel does not tell, though it has tracepoints; nil: nothing.
  public var missing: BlindSpot? {
    opened.withLock { $0.map(\.formats) }.flatMap { Self.blindSpot(without: $0) }
  }

  /// Whether this kernel tells of the resets of sockets that are gone (since 6.10).
  public var tracesPassiveResets: Bool {
    opened.withLock { $0?.formats[.resetSent]?.fields["reason"] != nil }
  }

  private func release() {
    let old = opened.withLock { opened in
      defer { opened = nil }
      return opened
    }
    if let old, old.savedCommands >= 0 { close(old.savedCommands) }
  }

  /// What a session loses when this probe could not be opened.
  public static func blindSpot(_ error: ProbeError) -> BlindSpot {
    BlindSpot(
      id: "tracepoints", what: "the kernel's tracepoints were not read: \(error.reason)",
      cost: "a connection shorter than a quarter of a second has no known owner, and who sent a "
        + "signal or a reset is not known",
      remedy: error.remedy)
  }

  /// What an old kernel does not tell.
  static func blindSpot(without formats: [TraceDecoder.Event: TraceFormat]) -> BlindSpot? {
    let losses: [(TraceDecoder.Event, String)] = [
      (.resetSent, "which process aborted a connection"),
      (.resetReceived, "how many resets came in"),
      (.retransmission, "how many segments were sent again"),
      (.exit, "whether a process closed a connection or died with it"),
      (.exec, "when a process became another program"),
      (.signal, "who sent a signal"),
      (.outOfMemory, "the exact moment of an OOM kill"),
    ]
    let missing = losses.filter { formats[$0.0] == nil }
    guard !missing.isEmpty else { return nil }
    return BlindSpot(
      id: "tracepoints-missing",
      what: "this kernel lacks \(missing.map(\.0.rawValue).joined(separator: ", "))",
      cost: "not known: \(missing.map(\.1).joined(separator: "; "))",
      remedy: "use Linux 4.16 or newer with all tracepoints")
  }
}

/// What others tell the thread.
final class TraceInbox: Sendable {
  private struct State {
    var endpoints: Set<Endpoint>
    var isChanged = false
    var processes: [ProcessIdentity] = []
  }
  private let state: Mutex<State>

  init(_ endpoints: Set<Endpoint>) { state = Mutex(State(endpoints: endpoints)) }

  var endpoints: Set<Endpoint> { state.withLock { $0.endpoints } }

  func watch(_ endpoints: Set<Endpoint>) {
    state.withLock { state in
      guard state.endpoints != endpoints else { return }
      state.endpoints = endpoints
      state.isChanged = true
    }
  }

  func know(_ process: ProcessIdentity) {
    state.withLock { state in
      if state.processes.count < 65_536 { state.processes.append(process) }
    }
  }

  /// - Returns: the endpoints if they have changed, and processes that are new.
  func take() -> (endpoints: Set<Endpoint>?, processes: [ProcessIdentity]) {
    state.withLock { state in
      defer {
        state.isChanged = false
        state.processes = []
      }
      return (state.isChanged ? state.endpoints : nil, state.processes)
    }
  }
}
