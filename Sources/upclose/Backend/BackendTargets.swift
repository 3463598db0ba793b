import Evidence
import Glibc
import LinuxHost
import SocketProbe

/// What is watched on a backend's host: ports that are given, those of a process, or every one that
/// has connections.
struct BackendTargets {
  var ports: Set<UInt16>
  var endpoints: [Endpoint]
  /// Of the process whose listeners are watched.
  var pid: Int32?

  /// sshd's: the connections of whoever is looking.
  private static let shell: UInt16 = 22

  /// Looks at the namespace that the calling thread is in.
  /// - Throws: `ProbeError` when there is nothing to watch.
  init(ports: [UInt16], endpoints: [Endpoint], pid: Int32?) throws {
    self.ports = Set(ports)
    self.endpoints = endpoints
    self.pid = pid
    let found = try current()
    guard found.isEmpty else { return }
    let what = pid.map { "what pid \($0) listens on" } ?? "a listening port"
    throw ProbeError(
      doing: "find \(what)", reason: "nothing listens in this network namespace",
      remedy: "name it: --port PORT (it may begin to listen later), or --netns PID")
  }

  /// The endpoints by now: an address may have come, or another listener.
  func current() throws -> [Endpoint] {
    let local = try LocalListeners()
    var wanted = ports
    if let pid {
      let inodes = Self.inodes(of: pid)
      wanted.formUnion(
        local.listeners.filter { inodes.contains($0.inode) }.map(\.endpoint.port))
    } else if ports.isEmpty, endpoints.isEmpty {
      let all = local.listeners.filter { $0.endpoint.port != Self.shell }
      let busy = all.filter { $0.connections > 0 }
      wanted = Set((busy.isEmpty ? all : busy).map(\.endpoint.port))
    }
    // A port that nobody listens on yet is reached by every address.
    let anywhere = wanted.flatMap { port in
      local.addresses.map { Endpoint(address: $0, port: port) }
    }
    return Set(anywhere + endpoints).sorted()
  }

  /// The sockets of a process and of its children, and theirs.
  private static func inodes(of pid: Int32) -> Set<UInt64> {
    let table = ProcTable()
    var inodes: Set<UInt64> = []
    var todo = [pid]
    var seen: Set<Int32> = []
    while let next = todo.popLast(), seen.count < 4096 {
      guard seen.insert(next).inserted else { continue }
      _ = table.forEachSocket(of: next) { inodes.insert($0) }
      todo += table.children(next)
    }
    return inodes
  }
}

extension Targets {
  /// What a backend's host has to watch; enters the network namespace that is asked for, or that of
  /// the process.
  static func backend(_ options: AttachCommand) throws -> Targets {
    if let asked = options.netns {
      try enterNamespace(asked.path, "of --netns")
    } else if let pid = options.pid {
      guard ProcTable().stat(pid) != nil else {
        throw ProbeError(doing: "watch pid \(pid)", reason: "no process has this pid")
      }
      let own = readLink("/proc/thread-self/ns/net")
      if readLink("/proc/\(pid)/ns/net") != own {
        try enterNamespace("/proc/\(pid)/ns/net", "of pid \(pid)")
      }
    }
    let found = try BackendTargets(
      ports: options.port, endpoints: options.upstream.map(\.endpoint), pid: options.pid)
    var targets = Targets()
    targets.extraEndpoints = try found.current()
    targets.backend = found
    return targets
  }
}
