import Evidence
import Glibc
import LinuxHost

/// The stale keepalive race, made to happen.
///
/// nginx reuses a connection that the backend has just closed for being idle, because it takes up the
/// client's request before the FIN. In ordinary load that is one request in a thousand or in a
/// million. Here the nginx worker is stopped (SIGSTOP) while the FIN arrives and a POST already
/// waits; continued, it finds both, the client's first, as a busy event loop would. Every step waits
/// for the kernel's own word about the sockets, so that it does not depend on the machine's speed.
extension FaultScript {
  func injectStaleRace(on backend: LabBackend) throws {
    // The worker is stopped shortly before the backend's idle timeout. Where the machine is too slow
    // for that, earlier; at last at once.
    var lead: Int64 = 400
    for attempt in 1...10 {
      if let fault = try tryStaleRace(on: backend, lead: lead, attempt: attempt) {
        record(fault)
        return
      }
      lead *= 2
    }
    throw ProbeError(
      doing: "make a stale keepalive race on \(backend.name)",
      reason: "ten times the backend had closed before nginx was stopped")
  }

  /// - Parameter lead: milliseconds before the idle timeout at which nginx is stopped.
  /// - Returns: nil when the order of events was not the one that makes the race; the client got a
  ///   200 then, and nginx has logged nothing.
  private func tryStaleRace(
    on backend: LabBackend, lead: Int64, attempt: Int
  ) throws -> InjectedFault? {
    let client = try client()
    let idleSince = monotonicMilliseconds()
    let (worker, port) = try ask(backend, through: client)
    let ours = Endpoint(address: world.nginxAddress, port: port)
    let idle = world.idleTimeout.nanoseconds / 1_000_000
    try rest(milliseconds: max(0, idleSince + idle - lead - monotonicMilliseconds()))

    try world.nginx.stopWorker()
    defer { world.nginx.continueWorker() }
    let path = uniquePath("/\(backend.name.lowercased())/stale", attempt)
    let begin = currentTime()
    try client.send("POST", path)
    try wait(until: "the request waits at nginx", every: 1) {
      try TCPTable().row(local: world.frontend, remote: client.local)?.receiveQueue ?? 0 > 0
    }
    // The request is there; if the FIN is not, it will come second, which is what makes the race. If
    // it is, it may have come first: then nginx closes the connection before it reads the request,
    // and opens another, and the answer will tell.
    if try state(ours, backend) == .established {
      try wait(until: "backend \(backend.name) closes the idle connection") {
        if world.isCancelled { throw Cancelled() }
        return try state(ours, backend) == .closeWait
      }
    }
    world.nginx.continueWorker()
    let response = try client.receive()
    if response.status == 200 { return nil }
    try expect(response, status: 502, tried: backend.endpoint.description, path: path)
    return InjectedFault(
      id: next, kind: .staleKeepalive,
      what: "nginx reused a connection that backend \(backend.name) had closed when idle",
      method: "POST", path: path, backend: backend.endpoint, upstream: .tcp(backend.endpoint),
      begin: begin, end: currentTime(), clientStatus: response.status,
      nginxWorker: world.nginxWorkerPID, backendWorker: worker,
      expectedMessage: .prematurelyClosed, expectedCause: "stale-keepalive")
  }

  /// The state of nginx's end of a connection; nil when it is gone.
  private func state(_ ours: Endpoint, _ backend: LabBackend) throws -> TCPTable.State? {
    try TCPTable().row(local: ours, remote: backend.endpoint)?.state
  }
}
