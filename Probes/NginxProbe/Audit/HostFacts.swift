import Evidence
import Glibc
import LinuxHost

extension HostFacts {
  /// What the host of a running nginx allows it.
  public init(of loaded: LoadedNginx, proc: String = "/proc") {
    self.init()
    guard let found = loaded.found else { return }
    let table = ProcessTable(root: proc)
    // Of nginx's own network namespace, where that is another one.
    let net = "\(proc)/\(found.master)/root/proc/sys/net"
    func numbers(_ name: String) -> [Int] {
      let bytes =
        (found.isInOtherNetworkNamespace ? try? readFile("\(net)/\(name)", limit: 256) : nil)
        ?? (try? readFile("\(proc)/sys/net/\(name)", limit: 256)) ?? []
      return bytes.split { !(0x30...0x39).contains($0) }
        .compactMap { Int(String(decoding: $0, as: UTF8.self)) }
    }
    let ports = numbers("ipv4/ip_local_port_range")
    if ports.count == 2, ports[0] <= ports[1] { localPorts = ports[0]...ports[1] }
    tcpKeepaliveTime = numbers("ipv4/tcp_keepalive_time").first.map { .seconds(Int64($0)) }
    somaxconn = numbers("core/somaxconn").first
    processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let workers = found.workers(shuttingDown: false)
    workerDescriptors = workers.compactMap { DescriptorLimits(pid: $0, in: table)?.soft }.min()
    let user = workers.first.flatMap { table.user($0) }
    for peer in loaded.instance.upstreams.flatMap(\.servers).flatMap(\.peers) {
      guard case .unix(let path) = peer else { continue }
      deadSockets[path] = Self.fault(found.mountRoot.outside(path), user)
    }
  }

  /// Why a worker of that user cannot connect to a socket; nil when it may, or when that cannot be
  /// told.
  private static func fault(_ path: String, _ user: UInt32?) -> String? {
    var status = stat()
    guard stat(path, &status) == 0 else {
      return errno == ENOENT ? "there is no such socket: its backend does not run" : nil
    }
    guard status.st_mode & S_IFMT == S_IFSOCK else { return "it is not a socket" }
    guard let user, user != 0, user != status.st_uid, status.st_mode & 0o002 == 0,
      status.st_mode & 0o020 == 0
    else { return nil }
    return "nginx's user (\(user)) may not write to it"
  }
}

/// The `Max open files` of a process.
struct DescriptorLimits: Hashable {
  var soft: Int
  var hard: Int

  init?(pid: Int32, in table: ProcessTable) {
    guard let bytes = try? readFile(table.path(pid, "limits"), limit: 16 << 10) else { return nil }
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      guard let value = line.value(after: "Max open files") else { continue }
      let words = value.split(separator: " ")
      guard words.count >= 2 else { return nil }
      soft = Int(words[0]) ?? .max
      hard = Int(words[1]) ?? .max
      return
    }
    return nil
  }
}
