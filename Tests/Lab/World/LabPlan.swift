import Evidence
import Glibc
import LinuxHost

/// What a world is made of, and the steps that make it. Everything has a name of this run.
struct LabPlan {
  var run: RunName
  var backendExecutable: String
  var idleTimeout: TimeSpan
  var memoryLimit: Int
  var nginxProgram: String
  var ip: String
  var missingModules: Set<String>

  /// The namespaces are private, so these cannot clash with the host's.
  static let nginxAddress = IPAddress(v4: 0x0ae7_0701)
  static let addressOfA = IPAddress(v4: 0x0ae7_0702)
  static let addressOfB = IPAddress(v4: 0x0ae7_0703)
  static let frontend = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 8000)

  init(
    backendExecutable: String, name: String, idleTimeout: TimeSpan, memoryLimit: Int
  ) throws {
    guard getuid() == 0 else {
      throw ProbeError(
        doing: "build the lab's world", reason: "it needs root for network namespaces and cgroups",
        remedy: "run it as root")
    }
    guard !name.isEmpty,
      name.utf8.allSatisfy({ $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: "/") })
    else { throw ProbeError(doing: "name the world '\(name)'", reason: "- and / are not possible") }
    guard access(backendExecutable, X_OK) == 0 else {
      throw ProbeError(
        doing: "use the backend \(backendExecutable)", reason: errorText(errno),
        remedy: "build it with swift build --product lab-backend")
    }
    guard let nginx = findProgram("nginx") else {
      throw ProbeError(
        doing: "find nginx", reason: "no program of that name on PATH or in /usr/sbin",
        remedy: "apt-get install nginx-light")
    }
    guard let ip = findProgram("ip") else {
      throw ProbeError(
        doing: "find ip", reason: "no program of that name on PATH or in /usr/sbin",
        remedy: "apt-get install iproute2")
    }
    run = RunName.next(name)
    self.backendExecutable = backendExecutable
    self.idleTimeout = idleTimeout
    self.memoryLimit = memoryLimit
    self.ip = ip
    nginxProgram = nginx
    try Leftovers.removeDead(prefix: name, parent: Self.parent, ip: ip)
    let version = try runProgram(
      nginx, ["-V"], output: "\(Self.parent)/\(run.description).version")
    missingModules = NginxConfiguration.missingModules(version: version)
  }

  /// Where directories are made: memory, not disk, decides nothing here.
  static let parent = "/tmp"

  var directory: String { "\(Self.parent)/\(run.description)" }
  private var commandOutput: String { "\(directory)/ip.out" }

  func makeDirectory(_ undo: Undo) throws {
    let directory = directory
    // mkdir(2) fails if somebody else has made it: only then is it ours, to fill and to remove.
    guard mkdir(directory, 0o755) == 0 else {
      throw ProbeError(doing: "make \(directory)", reason: errorText(errno))
    }
    undo.register("remove \(directory)") { try removeTree(directory) }
  }

  /// nginx's and the backends' namespace, joined by a veth whose ends were made inside them, so
  /// that the host never sees an interface.
  func makeNamespaces(_ undo: Undo) throws -> (nginx: Namespace, backends: Namespace) {
    let names = ["\(run.description)-nginx", "\(run.description)-backends"]
    for name in names {
      let (ip, output) = (ip, "\(Self.parent)/\(name).out")
      undo.register("remove namespace \(name)") {
        try removeNamespace(name, ip: ip, output: output)
      }
      try configure("netns", "add", name)
    }
    try configure(
      "link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0", "netns",
      names[1])
    let addresses = [[Self.nginxAddress], [Self.addressOfA, Self.addressOfB]]
    for (name, own) in zip(names, addresses) {
      for address in own {
        try configure("-n", name, "address", "add", "\(address)/24", "dev", "veth0")
      }
      try configure("-n", name, "link", "set", "lo", "up")
      try configure("-n", name, "link", "set", "veth0", "up")
    }
    let spaces = try names.map { name in
      let space = try Namespace(name: name)
      undo.register("leave namespace \(name)") { space.close() }
      return space
    }
    return (spaces[0], spaces[1])
  }

  private func configure(_ arguments: String...) throws {
    try runProgram(ip, arguments, output: commandOutput)
  }

  func makeBackends(in space: Namespace, _ undo: Undo) throws -> [LabBackend] {
    try zip(["A", "B"], [Self.addressOfA, Self.addressOfB]).map { name, address in
      let group = try MemoryCgroup.make(
        "\(run.description)-\(name)", limit: memoryLimit, undo: undo)
      let backend = LabBackend(
        name: name, endpoint: Endpoint(address: address, port: 8080), program: backendExecutable,
        idleTimeout: idleTimeout, memoryCgroup: group, directory: directory, namespace: space)
      undo.register("stop backend \(name)") { backend.stop() }
      return backend
    }
  }

  var configuration: NginxConfiguration {
    NginxConfiguration(
      directory: directory, listen: Self.frontend,
      a: Endpoint(address: Self.addressOfA, port: 8080),
      b: Endpoint(address: Self.addressOfB, port: 8080), missingModules: missingModules)
  }
}
