import CLinux
import Evidence
import Glibc
import LinuxHost
import NginxProbe

/// What an attach watches: which nginx, which upstreams, which logs; found, or given by options.
struct Targets {
  var loaded: [LoadedNginx] = []
  var extraEndpoints: [Endpoint] = []
  var errorLogs: [String] = []
  /// What of them could not be read.
  var blindSpots: [BlindSpot] = []

  var instances: [NginxInstance] { loaded.map(\.instance) }

  /// Every upstream address that sends packets, in order.
  var endpoints: [Endpoint] {
    let named = instances.flatMap(\.upstreams).flatMap(\.servers).flatMap(\.peers)
    return Set(named.compactMap(\.endpoint) + extraEndpoints).sorted()
  }

  /// Looks for nginx, enters its network namespace if that is another one, and reads its settings.
  /// Call it before any thread starts: a namespace belongs to a thread.
  /// - Throws: `ProbeError` when there is nothing to watch, with where it looked.
  static func find(_ options: AttachCommand) throws -> Targets {
    let discovery = NginxDiscovery()
    var targets = Targets()
    targets.extraEndpoints = options.upstream.map(\.endpoint)
    if let asked = options.netns { try enterNamespace(asked.path, "of --netns") }
    let candidates = discovery.find()
    let found = try choose(candidates, options.pid, stays: options.netns != nil)
    guard !found.isEmpty || !options.upstream.isEmpty && !options.errorLog.isEmpty else {
      let place = options.netns.map { " in the network namespace \($0.path)" } ?? ""
      throw ProbeError(
        doing: "find nginx\(place)",
        reason: candidates.isEmpty
          ? "no master process runs (\(discovery.whereItLooks))"
          : "those that run are in others: \(list(candidates))",
        remedy: "start it, or name what to watch: --error-log FILE --upstream ADDRESS:PORT")
    }
    if options.netns == nil { try enterNamespace(of: found) }
    // Looked at again, since what is foreign to us has changed with the namespace.
    let masters = Set(found.map(\.master))
    try targets.load(
      discovery.find().filter { masters.contains($0.master) },
      isOptional: !options.upstream.isEmpty && !options.errorLog.isEmpty)
    if options.errorLog.contains(LogSource.standardInput) {
      // The log that nginx writes to a pipe comes through another one.
      for index in targets.loaded.indices {
        targets.loaded[index].blindSpots.removeAll { $0.id == "error-log" }
      }
    }
    let logs = targets.instances.flatMap(\.errorLogs) + options.errorLog
    targets.errorLogs = logs.enumerated().filter { logs.firstIndex(of: $1) == $0 }.map(\.element)
    try targets.checkThereIsSomething()
    return targets
  }

  /// Reads the settings of each. The files on disk may be broken while the nginx that loaded them runs
  /// well: somebody is mending them at this very moment. Then what the others, or the options, name is
  /// watched.
  private mutating func load(_ found: [FoundNginx], isOptional: Bool) throws {
    var failure: ProbeError?
    for nginx in found {
      do {
        loaded.append(try nginx.load())
      } catch {
        let doing = "read the configuration of nginx \(nginx.master)"
        failure = ProbeError(
          doing: doing, reason: "\(error)",
          remedy: "name what to watch: --error-log FILE --upstream ADDRESS:PORT")
        blindSpots.append(
          BlindSpot(
            id: "nginx-configuration", what: "cannot \(doing): \(error)",
            cost: "only what the options name is watched of it, and a fix names no place"))
      }
    }
    // Unless the options name upstreams and logs, or there is another nginx to watch.
    if loaded.isEmpty, !isOptional, let failure { throw failure }
  }

  /// The asked one; else all in our own network namespace (which is the asked one by now); else all of
  /// the one other namespace.
  /// - Parameter stays: only our own namespace counts.
  static func choose(
    _ candidates: [FoundNginx], _ pid: Int32?, stays: Bool = false
  ) throws -> [FoundNginx] {
    if let pid {
      if let chosen = candidates.first(where: { $0.master == pid || $0.workers.contains(pid) }) {
        return [chosen]
      }
      throw ProbeError(
        doing: "watch nginx \(pid)", reason: "no nginx master has this pid",
        remedy: candidates.isEmpty ? "none runs" : "there are \(list(candidates))")
    }
    let here = candidates.filter { !$0.isInOtherNetworkNamespace }
    if !here.isEmpty || stays { return here }
    guard Set(candidates.map(\.networkNamespace)).count <= 1 else {
      throw ProbeError(
        doing: "choose an nginx", reason: "several run, in different network namespaces",
        remedy: "name one with --pid: \(list(candidates))")
    }
    return candidates
  }

  private static func list(_ candidates: [FoundNginx]) -> String {
    candidates.map { "\($0.master) (\($0.configurationPath))" }.joined(separator: ", ")
  }

  /// Enters the network namespace of the first of them, if that is another than ours.
  static func enterNamespace(of found: [FoundNginx]) throws {
    guard let nginx = found.first, nginx.isInOtherNetworkNamespace else { return }
    try enterNamespace("/proc/\(nginx.master)/ns/net", "of nginx")
  }

  /// Moves this thread, and those that it will start.
  /// - Parameter whose: as in `enter the network namespace of nginx`.
  private static func enterNamespace(_ path: String, _ whose: String) throws {
    let doing = "enter the network namespace \(whose), \(path)"
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      let code = errno
      throw ProbeError(
        doing: doing, reason: errorText(code),
        remedy: code == ENOENT
          ? "name a process that runs, or a file: `ip netns list`, `lsns -t net`" : "run as root")
    }
    defer { close(descriptor) }
    guard clinux_setns(descriptor, clinux_CLONE_NEWNET) == 0 else {
      let code = errno
      guard code == EINVAL else {
        throw ProbeError(
          doing: doing, reason: errorText(code), remedy: "run as root, with CAP_SYS_ADMIN")
      }
      throw ProbeError(
        doing: doing, reason: "it is not a network namespace",
        remedy: "name a process in it, or its file: `ip netns list`, `lsns -t net`")
    }
  }

  private func checkThereIsSomething() throws {
    let masters = instances.compactMap { $0.master.map(String.init) }.joined(separator: ", ")
    if endpoints.isEmpty, !instances.flatMap(\.upstreams).isEmpty {
      // Only UNIX sockets: logs and processes remain, and the blind spots say so.
      return
    }
    if endpoints.isEmpty {
      throw ProbeError(
        doing: "watch nginx \(masters)",
        reason: "its configuration names no upstream with an address",
        remedy: "name them: --upstream ADDRESS:PORT")
    }
    if errorLogs.isEmpty {
      throw ProbeError(
        doing: "watch nginx \(masters)", reason: "it writes no error log to a file",
        remedy: "name one: --error-log FILE")
    }
  }
}
