import Evidence
import Glibc
import LinuxHost

/// What a world is made of, and the steps that make it. Everything has a name of this run.
struct LabPlan {
  var ground: Ground
  var backendExecutable: String
  var idleTimeout: TimeSpan
  var memoryLimit: Int
  var nginxProgram: String
  var missingModules: Set<String>

  /// The namespaces are private, so these cannot clash with the host's.
  static let nginxAddress = IPAddress(v4: 0x0ae7_0701)
  static let addressOfA = IPAddress(v4: 0x0ae7_0702)
  static let addressOfB = IPAddress(v4: 0x0ae7_0703)
  static let frontend = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 8000)

  init(
    backendExecutable: String, name: String, idleTimeout: TimeSpan, memoryLimit: Int
  ) throws {
    ground = try Ground(prefix: name)
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
    self.backendExecutable = backendExecutable
    self.idleTimeout = idleTimeout
    self.memoryLimit = memoryLimit
    nginxProgram = nginx
    let version = try runProgram(
      nginx, ["-V"], output: "\(Self.parent)/\(ground.name).version")
    missingModules = NginxConfiguration.missingModules(version: version)
  }

  static let parent = Ground.parent

  var directory: String { ground.directory }

  func makeNamespaces(_ undo: Undo) throws -> (nginx: Namespace, backends: Namespace) {
    try ground.makeNamespaces(
      nginx: Self.nginxAddress, backends: [Self.addressOfA, Self.addressOfB], undo: undo)
  }

  func makeBackends(in space: Namespace, _ undo: Undo) throws -> [LabBackend] {
    try zip(["A", "B"], [Self.addressOfA, Self.addressOfB]).map { name, address in
      let group = try MemoryCgroup.make(
        "\(ground.name)-\(name)", limit: memoryLimit, undo: undo)
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
