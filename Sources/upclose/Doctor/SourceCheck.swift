import BackendProbe
import CLinux
import Evidence
import Glibc
import KernelProbe
import LinuxHost
import PacketProbe
import ProcessProbe
import SocketProbe
import TraceProbe

/// Whether one source of evidence can be had on this host: tried, and not guessed.
struct SourceCheck {
  enum State: String {
    case yes
    /// Some of it.
    case partly
    case no
    /// There is nothing of the kind here, and so nothing is missed.
    case absent
  }

  var source: String
  var state: State
  /// What was found, or why it cannot be had.
  var detail: String
  /// What is not known without it.
  var cost: String?
  var remedy: String?

  init(
    _ source: String, _ state: State, _ detail: String, cost: String? = nil, remedy: String? = nil
  ) {
    self.source = source
    self.state = state
    self.detail = detail
    self.cost = cost
    self.remedy = remedy
  }

  /// What is wrong, as a blind spot of a session says it.
  private init(_ source: String, _ spot: BlindSpot, _ error: ProbeError) {
    self.init(
      source, .no, "\(error.doing): \(error.reason)", cost: spot.cost, remedy: spot.remedy)
  }

  var isComplete: Bool { state == .yes || state == .absent }

  /// All sources of the host itself.
  static func host() -> [SourceCheck] {
    // Nobody listens there: it is opened, and closed again.
    let nowhere = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 1)
    return [
      packets(), kernelLog(), trace(nowhere), sockets(nowhere), processes(), owners(), cgroups(),
      counters(), conntrack(),
    ]
  }

  private static func packets() -> SourceCheck {
    let probe = PacketProbe(host: hostName(), upstreams: UpstreamFilter(ports: [1]))
    defer { probe.stop() }
    return attempt("packets") {
      try probe.open()
      return SourceCheck("packets", .yes, "every interface can be captured")
    } spot: {
      BlindSpot(
        id: "packets", what: "",
        cost: "who closed a connection, and how; without it attach refuses",
        remedy: $0.remedy ?? "run as root, or grant CAP_NET_RAW")
    }
  }

  private static func kernelLog() -> SourceCheck {
    let probe = KernelProbe()
    defer { probe.stop() }
    return attempt("kernel log") {
      try probe.open()
      return SourceCheck("kernel log", .yes, "/dev/kmsg")
    } spot: {
      KernelProbe.blindSpot($0)
    }
  }

  private static func trace(_ endpoint: Endpoint) -> SourceCheck {
    let probe = TraceProbe(watching: [endpoint])
    defer { probe.stop() }
    return attempt("tracepoints") {
      try probe.open()
      if let spot = probe.missing {
        return SourceCheck(
          "tracepoints", .partly, spot.what, cost: spot.cost, remedy: spot.remedy)
      }
      guard probe.tracesPassiveResets else {
        return SourceCheck(
          "tracepoints", .partly, "this kernel tells of the resets of living sockets only",
          cost: "why a reset came from a socket that was gone", remedy: "use Linux 6.10 or newer")
      }
      return SourceCheck("tracepoints", .yes, "all, in an instance of its own")
    } spot: {
      TraceProbe.blindSpot($0)
    }
  }

  private static func sockets(_ endpoint: Endpoint) -> SourceCheck {
    let probe = SocketProbe(watching: [endpoint])
    defer { probe.stop() }
    return attempt("sockets") {
      try probe.open()
      let reach = probe.reach
      let places = reach.namespaces == 1 ? "" : ", in \(reach.namespaces) network namespaces"
      guard reach.hearsDeaths else {
        return SourceCheck(
          "sockets", .partly, "they are listed\(places), their ends are not told",
          cost:
            "the kernel's last words on a connection: what was acknowledged, how long it was idle",
          remedy: "run as root (CAP_NET_ADMIN), with the modules tcp_diag and inet_diag")
      }
      return SourceCheck("sockets", .yes, "listed, and their ends told\(places)")
    } spot: {
      SocketProbe.blindSpot($0)
    }
  }

  private static func processes() -> SourceCheck {
    let probe = ProcessProbe()
    defer { probe.stop() }
    return attempt("exits") {
      try probe.open()
      guard probe.hearsExits else {
        return SourceCheck(
          "exits", .partly, "the kernel's process connector cannot be had here",
          cost:
            "on a kernel before 6.15, the exit code or signal of a process that its parent reaps "
            + "at once", remedy: "run as root in the host's network namespace")
      }
      return SourceCheck("exits", .yes, "each with its code or signal (process connector)")
    } spot: {
      ProcessProbe.blindSpot($0)
    }
  }

  private static func attempt(
    _ source: String, _ open: () throws -> SourceCheck, spot: (ProbeError) -> BlindSpot
  ) -> SourceCheck {
    do {
      return try open()
    } catch let error as ProbeError {
      return SourceCheck(source, spot(error), error)
    } catch {
      return SourceCheck(source, .no, "\(error)")
    }
  }
}

extension SourceCheck {
  /// Whether the descriptors of other users' processes can be read.
  fileprivate static func owners() -> SourceCheck {
    let table = ProcTable()
    var denied = 0
    var seen = 0
    for pid in table.processes().prefix(2000) {
      switch table.forEachSocket(of: pid, { _ in }) {
      case .allowed: seen += 1
      case .denied: denied += 1
      case .gone: break
      }
    }
    guard denied > 0 else {
      return SourceCheck("socket owners", .yes, "the descriptors of all \(seen) processes")
    }
    return SourceCheck(
      "socket owners", seen > 1 ? .partly : .no,
      "the descriptors of \(denied) of \(denied + seen) processes may not be read",
      cost: "which of them owned a connection: a killed process may look like a close by choice",
      remedy: "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
  }

  fileprivate static func cgroups() -> SourceCheck {
    let mounts = String(decoding: (try? readFile("/proc/self/mounts")) ?? [], as: UTF8.self)
    var unified: String?
    for line in mounts.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 3 else { continue }
      if fields[2] == "cgroup", fields[3].split(separator: ",").contains("memory") {
        return SourceCheck("cgroups", .yes, "memory controller of version 1 at \(fields[1])")
      }
      if fields[2] == "cgroup2" { unified = String(fields[1]) }
    }
    if let unified { return SourceCheck("cgroups", .yes, "version 2 at \(unified)") }
    guard ProcTable().controlGroup(getpid())?.path != nil else {
      return SourceCheck(
        "cgroups", .no, "this kernel or container has none",
        cost: "which service or container a process belonged to",
        remedy: "mount -t cgroup2 none /sys/fs/cgroup")
    }
    return SourceCheck("cgroups", .yes, "named by /proc, though none is mounted")
  }

  fileprivate static func counters() -> SourceCheck {
    guard access("/proc/net/netstat", R_OK) == 0 else {
      return SourceCheck(
        "TCP counters", .no, "/proc/net/netstat: \(errorText(errno))",
        cost: "connections that the kernel dropped for want of room in an accept queue",
        remedy: "mount /proc")
    }
    return SourceCheck("TCP counters", .yes, "/proc/net/netstat")
  }

  fileprivate static func conntrack() -> SourceCheck {
    func number(_ name: String) -> UInt64? {
      (try? readFile("/proc/sys/net/netfilter/\(name)")).flatMap { bytes in
        decimal(bytes.prefix { $0 != 10 })
      }
    }
    guard let count = number("nf_conntrack_count"), let most = number("nf_conntrack_max") else {
      return SourceCheck("conntrack", .absent, "not loaded in this network namespace")
    }
    guard count * 10 < most * 9 else {
      return SourceCheck(
        "conntrack", .partly, "\(count) of \(most) entries are in use",
        cost: "new connections are dropped when the table is full",
        remedy: "sysctl net.netfilter.nf_conntrack_max=\(most * 2)")
    }
    return SourceCheck("conntrack", .yes, "\(count) of \(most) entries are in use")
  }

  /// The logs of the processes that listen on these ports; nil ports: on any that has connections.
  static func backendLogs(_ ports: Set<UInt16>?) -> [SourceCheck] {
    guard let local = try? LocalListeners() else { return [] }
    let wanted = local.listeners.filter { listener in
      ports.map { $0.contains(listener.endpoint.port) }
        ?? (listener.connections > 0 && listener.endpoint.port != 22)
    }
    guard !wanted.isEmpty else { return [] }
    let table = ProcTable()
    var told: Set<String> = []
    var checks: [SourceCheck] = []
    for pid in table.processes() {
      var listens: Endpoint?
      _ = table.forEachSocket(of: pid) { inode in
        listens = wanted.first { $0.inode == inode }?.endpoint ?? listens
      }
      guard let endpoint = listens, let process = table.identity(pid), checks.count < 32 else {
        continue
      }
      let found = BackendProbe.logs(of: process)
      let paths = found.logs.map(\.path).sorted().joined(separator: ", ")
      // Workers share their master's.
      guard told.insert("\(endpoint) \(paths)").inserted else { continue }
      let name = "pid \(pid) (\(process.command)) at \(endpoint)"
      if found.logs.isEmpty {
        checks.append(
          SourceCheck(
            "backend log", .no, "\(name): \(found.blindSpot?.what ?? "it holds no log open")",
            cost: "what it says of its own end: a time-out, a recycled worker, an exception",
            remedy: found.blindSpot?.remedy ?? "name its log: --backend-log FILE"))
      } else {
        checks.append(
          SourceCheck(
            "backend log", .yes, "\(name): \(String(escapingControlsIn: paths.utf8))"))
      }
    }
    return checks
  }
}
