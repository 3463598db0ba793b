import Evidence

/// All that bears on one error, gathered for the causes to weigh: no cause looks anywhere else.
struct Case {
  var line: NginxLine
  var time: TimeEstimate
  var close: Connection?
  /// The groups that the error's upstream belongs to: nginx's line does not say which of them it used.
  var groups: [UpstreamGroup] = []
  var group: UpstreamGroup? { groups.first }
  var version: String?
  /// The processes that held the backend's end of this very connection.
  var owners: [ProcessIdentity] = []
  /// The processes known behind the upstream's port, now or before.
  var backends: [ProcessIdentity] = []
  /// Deaths near the close, of whatever process.
  var deaths: [Death] = []
  /// What the processes behind the port did around the close, all together.
  var pool = PoolEnd()
  var endedAround: Int { pool.ended }
  /// The owner had been asked to end before it closed: by whom, and when.
  var ownerAsked: (signal: SignalSent, time: Timestamp)?
  var watchedKernel = false
  var watchedProcesses = false
  var watchedPackets = false
  /// What the backend wrote to its own log around the close, the nearest first.
  var backendLines: [BackendLog.Entry] = []
  /// Whether a log of this upstream's backend was read at all: only then its silence says anything.
  var watchedBackendLog = false
  /// The kernel's tracepoints were read.
  var watchedTrace = false
  /// The process that closed the backend's end, as the kernel saw it.
  var closer: KernelWitness.Act?
  /// The reset that the backend's kernel sent, with its reason.
  var reset: ResetSent?
  /// The port checks of this upstream nearest to the error.
  var checks: PortChecks = .init()
  /// Idle time before this upstream closes by itself, measured so far.
  var idleTimeout: Estimate?
  /// A listener of this upstream whose queue was more than half full near the error.
  var fullQueue: SocketSighting?
  /// The same of its UNIX socket.
  var unixQueue: UnixSocketSighting?
  /// How many complete connections the kernel dropped in those seconds, for want of room in a queue.
  var listenOverflows: UInt64 = 0
  /// How many descriptors the nginx worker held.
  var workerDescriptors: DescriptorUse?
  /// What the backend does by itself, measured so far.
  var requestLimit: CountEstimate?
  var requestAge: Estimate?
  var sizeThreshold: SizeThreshold?
  /// Other connections that the backend closed within 50 ms.
  var closedTogether = 0
  /// Requests of this upstream that were ever seen to be answered.
  var answered = 0
  /// Errors of this upstream so far.
  var upstreamErrors = 0
  /// The backend's socket's last words on this connection.
  var lastWords: SocketDeath?
  /// What is known of the pool of each dead process.
  var recycling: [Int32: Recycling] = [:]
  /// The descriptors that the backend's process held.
  var backendDescriptors: DescriptorUse?
  /// What connection tracking did in those seconds.
  var tracking = Tracking()
  /// nginx reloaded within seconds.
  var reload: TimeEstimate?
  /// The access log's word on the request.
  var answer: NginxRequest?
  /// Failures of each peer that the latest error found, as nginx counts them.
  var failures = 0
  /// Earlier incidents that disabled the group's peers.
  var disabling: [PeerFailure] = []
  /// Whether all peers of the group are accounted for by `disabling`.
  var disablingIsComplete = false

  /// Whether the backend is seen as processes on this host.
  var isLocal: Bool { !owners.isEmpty || !backends.isEmpty }

  /// Where a directive of the group goes; nil when none is known.
  var place: String? { groups.place }

  /// The moment that deaths are compared with: the close, or else the error.
  var moment: TimeEstimate { close?.closedAt.map { TimeEstimate(exactly: $0) } ?? time }

  /// How a dead process relates to the close.
  func relation(to pid: Int32) -> Relation {
    if owners.contains(where: { $0.pid == pid }) { return .owner }
    if backends.contains(where: { $0.pid == pid }) { return .backend }
    return watchedProcesses ? .stranger : .unknown
  }

  enum Relation {
    case owner, backend
    /// Processes were watched, and this one was not seen behind the port.
    case stranger
    /// Nobody looked who was behind the port (files).
    case unknown
  }

  /// A connection that had been used before this request (or was there before the capture).
  var isReused: Bool? {
    guard let close else { return nil }
    if let exchanges = close.exchanges {
      // The request that came after the FIN is counted, and was not served.
      let served = close.requestAfterFIN ? exchanges - 1 : exchanges
      return exchanges > 1 || close.phase == .idle && served > 0
    }
    return close.sawStart ? nil : true
  }

  /// The backend's process named for people: `pid 3434 (app)`.
  var ownerName: String? { owners.last.map { "pid \($0.pid) (\($0.command))" } }
}

/// The end of a process, from the kernel's log or from its pidfd.
struct Death {
  var pid: Int32
  var command: String
  var time: TimeEstimate
  var how: How
  /// The signal that it ended by, or that asked it to end, and who sent it; nil when not seen.
  var signal: SignalSent?
  /// When that was.
  var signalTime: Timestamp?

  enum How {
    case oom(OOMKill)
    case fault(Fault)
    case signal(Int32)
    case code(Int32)
    /// Gone, and the kernel does not say how.
    case gone
  }

  /// It happened to the process, which could not close anything itself any more.
  var isSudden: Bool {
    switch how {
    case .oom, .fault, .signal(4), .signal(6), .signal(7), .signal(8), .signal(9), .signal(11): true
    case .signal, .code, .gone: false
    }
  }

  /// Who sent the signal, in words that continue a sentence; empty when that was not seen.
  var author: String {
    guard let signal else { return "" }
    let name = signalName(signal.signal)
    let isByCode = if case .code = how { true } else { false }
    let verb = isByCode ? ", after \(name) from" : ", sent by"
    guard let sender = signal.sender else { return "\(verb) the kernel" }
    if sender.pid == pid { return isByCode ? "" : ", raised by itself" }
    let who = sender.command.isEmpty ? "pid \(sender.pid)" : "pid \(sender.pid) (\(sender.command))"
    return "\(verb) \(signal.isFromParent ? "its own master, " : "")\(who)"
  }

  /// It ended in the way in which masters end their workers, and workers themselves.
  var isOrderly: Bool {
    switch how {
    case .code(0), .signal(1), .signal(2), .signal(3), .signal(15), .gone: true
    default: false
    }
  }

  /// From the kernel's log, not only from how the process ended.
  var isKernelsWord: Bool {
    switch how {
    case .oom, .fault: true
    case .signal, .code, .gone: false
    }
  }
}

/// What the processes behind an upstream did around a moment: one worker ends for reasons of its own, a
/// pool that goes together was told to.
struct PoolEnd {
  /// That ended within half a second.
  var ended = 0
  /// That were there before it and went on; new ones are not counted.
  var alive = 0
  /// Their master ended, or was asked to end or to reload, in the ten seconds before or just after.
  var masterEnded: Death?
  var masterAsked: SignalSent?

  /// A master among them, parent of the others, went on.
  var masterLives = false

  /// The whole of it was told to go.
  var isWhole: Bool {
    masterEnded != nil || masterAsked != nil || ended >= 2 && alive == 0 && !masterLives
  }
}

/// What connection tracking did around an error.
struct Tracking {
  /// Its counters were read.
  var isWatched = false
  /// Packets that it dropped, or took for no part of a connection, in those seconds.
  var dropped: UInt64 = 0
  var invalid: UInt64 = 0
  /// How full its table is, 0 to 1; nil below half.
  var level: Double?
  /// The kernel's own words that the table is full.
  var isFull: KernelEvent?
}

/// What the port prober saw around an error.
struct PortChecks {
  /// The last check before the error and the first after it.
  var before: (time: Timestamp, outcome: PortCheck.Outcome)?
  var after: (time: Timestamp, outcome: PortCheck.Outcome)?
  /// Whether the port was seen to speak TLS; nil: it was not asked.
  var speaksTLS: Bool?

  var outcomes: [PortCheck.Outcome] { [before?.outcome, after?.outcome].compactMap { $0 } }
}

/// A failure that counted against a peer.
struct PeerFailure {
  var incident: Int
  var peer: UpstreamPeer
  var time: TimeEstimate
  var worker: Int32
}

extension [UpstreamGroup] {
  /// Where a directive of theirs goes: in every one of them, as
  /// `upstream "pair" (/etc/nginx/nginx.conf:31)`.
  var place: String? {
    guard !isEmpty else { return nil }
    let names = prefix(3).map { group in
      "upstream \"\(group.name)\"" + (group.location.map { " (\($0))" } ?? "")
    }
    return names.joined(separator: ", ") + (count > 3 ? " and \(count - 3) more" : "")
  }
}
