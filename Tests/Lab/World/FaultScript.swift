import Evidence
import Glibc
import LinuxHost

/// Makes the faults of the demonstration, one after the other, on the thread that lives in nginx's
/// namespace. Faults are POSTs, which nginx does not retry once it has sent them: a GET would be
/// answered by a second try, and only the error log would know.
final class FaultScript {
  let world: LabWorld
  private let progress: @Sendable (InjectedFault) -> Void
  private(set) var injected: [InjectedFault] = []

  init(world: LabWorld, progress: @escaping @Sendable (InjectedFault) -> Void) {
    self.world = world
    self.progress = progress
  }

  var a: LabBackend { world.backends[0] }
  var b: LabBackend { world.backends[1] }

  /// The number of the next fault; it makes its path unique.
  var next: Int { injected.count + 1 }

  /// A fault that is tried again gets another path: the first try may have left an error, too.
  func uniquePath(_ path: String, _ attempt: Int) -> String {
    attempt == 1 ? "\(path)/\(next)" : "\(path)/\(next)-\(attempt)"
  }

  /// All of it, with quiet between the faults; returns early when the world is cancelled.
  func runDemo() throws {
    let steps: [() throws -> Void] = [
      { try self.fault(.closeWithoutAnswer, on: self.a) },
      { try self.fault(.lingerReset, on: self.b) },
      { try self.fault(.crash, on: self.a) },
      { try self.injectStaleRace(on: self.b) },
      { try self.fault(.oomKill, on: self.b) },
      { try self.fault(.impatientNginx, on: self.b) },
      { try self.injectStaleRace(on: self.a) },
      { try self.stopA() },
      { try self.disablePair() },
      { try self.startA() },
      { try self.fault(.closeWithoutAnswer, on: self.b) },
    ]
    do {
      for step in steps {
        try rest(milliseconds: 1500)
        try step()
      }
      try rest(milliseconds: 1000)
    } catch is Cancelled {
      return
    }
  }

  /// - Throws: `Cancelled`.
  func rest(milliseconds: Int64) throws {
    let end = monotonicMilliseconds() + milliseconds
    while monotonicMilliseconds() < end {
      if world.isCancelled { throw Cancelled() }
      usleep(20_000)
    }
  }

  func client() throws -> HTTPClient {
    try HTTPClient(to: world.frontend) { [world] in world.isCancelled }
  }

  /// What a fault of this kind is asked for with, and what it leads to.
  private struct Recipe {
    var location: String
    var word: String
    var query = ""
    var what: String
    var status: Int
    var message: NginxMessage
    var cause: String
    var killsWorker = false
  }

  private func recipe(_ kind: InjectedFault.Kind, on backend: LabBackend) -> Recipe {
    let location = "/\(backend.name.lowercased())/fault"
    let who = "backend \(backend.name)"
    switch kind {
    case .lingerReset:
      return Recipe(
        location: location, word: "linger", what: "\(who) reset the connection (SO_LINGER 0)",
        status: 502, message: .recvFailed, cause: "closed-without-response")
    case .crash:
      return Recipe(
        location: location, word: "segv", what: "\(who)'s worker read a null pointer (SIGSEGV)",
        status: 502, message: .prematurelyClosed, cause: "crash", killsWorker: true)
    case .oomKill:
      return Recipe(
        location: location, word: "oom",
        what: "\(who)'s worker used more memory than its cgroup may (OOM kill)",
        status: 502, message: .prematurelyClosed, cause: "oom-kill", killsWorker: true)
    case .impatientNginx:
      return Recipe(
        location: "/impatient", word: "slow", query: "?ms=4000",
        what: "\(who) took 4 s, nginx waited \(NginxConfiguration.readTimeoutOfImpatient) ms",
        status: 504, message: .headerTimedOut, cause: "nginx-closed-first")
    default:
      return Recipe(
        location: location, word: "close", what: "\(who) closed the connection without an answer",
        status: 502, message: .prematurelyClosed, cause: "closed-without-response")
    }
  }

  /// A fault that one request to a chosen backend brings about.
  private func fault(_ kind: InjectedFault.Kind, on backend: LabBackend) throws {
    let recipe = recipe(kind, on: backend)
    let client = try client()
    let worker = try ask(backend, through: client).worker
    let path = "\(recipe.location)/\(recipe.word)/\(next)"
    let begin = currentTime()
    let response = try client.exchange("POST", path + recipe.query)
    try expect(response, status: recipe.status, tried: backend.endpoint.description, path: path)
    record(
      InjectedFault(
        id: next, kind: kind, what: recipe.what, method: "POST", path: path,
        backend: backend.endpoint, upstream: .tcp(backend.endpoint), begin: begin,
        end: currentTime(), clientStatus: response.status, nginxWorker: world.nginxWorkerPID,
        backendWorker: worker, expectedMessage: recipe.message, expectedCause: recipe.cause))
    if recipe.killsWorker { try waitForWorker(of: backend, otherThan: worker) }
  }

  /// A harmless request to one backend.
  /// - Returns: the backend's worker, and nginx's port of the connection that was used, which stays
  ///   open and is the one that nginx takes next.
  func ask(
    _ backend: LabBackend, through client: HTTPClient
  ) throws -> (worker: pid_t, port: UInt16) {
    let path = "/\(backend.name.lowercased())/ready/\(next)"
    let response = try client.exchange("GET", path)
    try expect(response, status: 200, tried: nil, path: path)
    guard let worker = response.headers["x-worker"].flatMap(pid_t.init),
      let port = response.headers["x-client-port"].flatMap(UInt16.init)
    else { throw ProbeError(doing: "ask \(path)", reason: "the answer is not the backend's") }
    return (worker, port)
  }

  /// - Parameter tried: what nginx must have tried, and nothing else; nil: anything.
  func expect(
    _ response: HTTPClient.Response, status: Int, tried: String?, path: String
  ) throws {
    let upstream = response.headers["x-upstream"] ?? "-"
    guard response.status == status, tried == nil || tried == upstream else {
      throw ProbeError(
        doing: "inject the fault \(path)",
        reason: "the client got \(response.status) from upstream \(upstream), not \(status)"
          + (tried.map { " from \($0)" } ?? ""))
    }
  }

  private func waitForWorker(of backend: LabBackend, otherThan dead: pid_t) throws {
    try wait(until: "backend \(backend.name) has a new worker") {
      if world.isCancelled { throw Cancelled() }
      return backend.workerPID.map { $0 != dead } ?? false
    }
  }

  func record(_ fault: InjectedFault) {
    injected.append(fault)
    let text = injected.map { $0.json + "\n" }.joined()
    try? writeFile(text, to: world.directory + "/truth.ndjson")
    progress(fault)
  }
}
