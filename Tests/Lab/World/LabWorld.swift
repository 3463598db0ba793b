public import Evidence
import Glibc
import LinuxHost
import Synchronization

/// A private world with a real nginx and a real pair of flaky backends: two network namespaces joined
/// by a veth, a memory cgroup for each backend's worker, a directory for all files. Nothing in it
/// touches the host's own nginx, its files, or any port of the host.
///
///     let world = try LabWorld.build(backendExecutable: path)
///     defer { world.tearDown() }
///     try world.startLoad()
///     let truth = try world.runDemoFaults { fault in … }
///
/// It needs root, nginx, and `ip` of iproute2. Its methods may be called from any thread.
public final class LabWorld: Sendable {
  /// The directory of this run: configuration, logs, and `truth.ndjson`, what was done to whom.
  public let directory: String
  /// nginx's network namespace, as `/run/netns/NAME`.
  public let nginxNamespacePath: String
  /// The backends' network namespace.
  public let backendNamespacePath: String
  public let nginxMasterPID: Int32
  public let nginxWorkerPID: Int32
  /// nginx's side of the veth: the originator's address of every flow.
  public let nginxAddress: IPAddress
  /// Where nginx takes clients' requests, inside its namespace.
  public let frontend: Endpoint
  public let errorLogPath: String
  public let accessLogPath: String
  public let configurationPath: String
  /// A and B.
  public let backends: [LabBackend]
  /// How long a backend keeps an idle connection; nginx keeps it for 60 s.
  public let idleTimeout: TimeSpan

  let nginx: LabNginx
  let nginxSpace: Namespace
  let load: OrdinaryLoad
  private let undo: Undo
  private let cancelled = Atomic<Bool>(false)
  private let isInjecting = Atomic<Bool>(false)

  /// Builds it, after removing what crashed runs with the same name have left.
  /// - Parameters:
  ///   - backendExecutable: path of `lab-backend`.
  ///   - name: prefix of all names on the host; letters, digits and dots.
  ///   - idleTimeout: how long the backends keep an idle connection; more than 1 s, so that it can
  ///     be told from what else happens.
  ///   - memoryLimit: of each backend's worker, in bytes.
  /// - Throws: `ProbeError`; then nothing is left of it.
  public static func build(
    backendExecutable: String, name: String = "upclose.lab", idleTimeout: TimeSpan = .seconds(2),
    memoryLimit: Int = 64 << 20
  ) throws -> LabWorld {
    try build(
      LabPlan(
        backendExecutable: backendExecutable, name: name, idleTimeout: idleTimeout,
        memoryLimit: memoryLimit))
  }

  static func build(_ plan: LabPlan) throws -> LabWorld {
    let undo = Undo()
    do {
      return try LabWorld(plan, undo)
    } catch {
      _ = undo.run()
      throw error
    }
  }

  private init(_ plan: LabPlan, _ undo: Undo) throws {
    self.undo = undo
    directory = plan.directory
    try plan.ground.makeDirectory(undo)
    let spaces = try plan.makeNamespaces(undo)
    nginxSpace = spaces.nginx
    nginxNamespacePath = spaces.nginx.path
    backendNamespacePath = spaces.backends.path
    backends = try plan.makeBackends(in: spaces.backends, undo)
    for backend in backends { try backend.start() }
    nginxAddress = LabPlan.nginxAddress
    frontend = LabPlan.frontend
    idleTimeout = plan.idleTimeout
    let configuration = plan.configuration
    nginx = try LabNginx.start(
      plan.nginxProgram, directory: configuration.directory, text: configuration.text,
      listen: configuration.listen, namespace: spaces.nginx, undo: undo)
    nginxMasterPID = nginx.master
    nginxWorkerPID = nginx.worker
    errorLogPath = "\(directory)/error.log"
    accessLogPath = "\(directory)/access.log"
    configurationPath = "\(directory)/nginx.conf"
    load = OrdinaryLoad(namespacePath: nginxNamespacePath, frontend: frontend)
  }

  deinit { tearDown() }

  /// Starts ordinary clients: about twenty requests a second to `upstream pair`.
  public func startLoad() throws {
    let load = load
    undo.register("end the load") { load.stop() }
    try load.start()
  }

  /// What the ordinary clients have seen so far: answers by status. Key 0 counts requests without
  /// any answer.
  public var loadStatuses: [Int: Int] { load.statuses }

  /// Injects every fault of the demonstration, about 27 s. Blocks; not from two threads at once.
  /// - Parameter progress: called after each, on a thread of the world's.
  /// - Returns: what was done; only the first of them when `cancel` was called.
  /// - Throws: `ProbeError` when a fault could not be made to happen.
  @discardableResult
  public func runDemoFaults(
    progress: @escaping @Sendable (InjectedFault) -> Void = { _ in }
  ) throws -> [InjectedFault] {
    isInjecting.store(true, ordering: .releasing)
    defer { isInjecting.store(false, ordering: .releasing) }
    return try nginxSpace.run {
      let script = FaultScript(world: self, progress: progress)
      try script.runDemo()
      return script.injected
    }
  }

  /// Makes `runDemoFaults` return soon, from any thread.
  public func cancel() {
    cancelled.store(true, ordering: .releasing)
  }

  public var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

  /// Ends every process and removes all that was made, the last first. Safe to call twice, and while
  /// `runDemoFaults` runs on another thread.
  /// - Returns: what could not be removed; empty when nothing is left.
  @discardableResult
  public func tearDown() -> [ProbeError] {
    cancel()
    try? wait(until: "the faults end") { !isInjecting.load(ordering: .acquiring) }
    return undo.run()
  }
}
