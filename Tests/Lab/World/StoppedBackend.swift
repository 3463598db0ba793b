import Evidence
import Glibc
import LinuxHost

/// One backend is stopped as a whole; then the other one fails too, and nginx has nobody left.
extension FaultScript {
  /// Stops A and asks for it: nothing listens there any more.
  func stopA() throws {
    let worker = a.workerPID
    a.stop()
    // A request on a connection that A closed, but whose FIN nginx has not seen, would be a stale
    // race: wait until nginx has closed its ends, too.
    try wait(until: "nginx has closed its connections to A") {
      if world.isCancelled { throw Cancelled() }
      return try !TCPTable().rows.contains { row in
        row.remote == a.endpoint && (row.state == .established || row.state == .closeWait)
      }
    }
    let path = "/a/stopped/\(next)"
    let begin = currentTime()
    let response = try client().exchange("POST", path)
    try expect(response, status: 502, tried: a.endpoint.description, path: path)
    record(
      InjectedFault(
        id: next, kind: .stoppedBackend, what: "backend A was stopped (SIGTERM), nothing listens",
        method: "POST", path: path, backend: a.endpoint, upstream: .tcp(a.endpoint), begin: begin,
        end: currentTime(), clientStatus: response.status, nginxWorker: world.nginxWorkerPID,
        backendWorker: worker, expectedMessage: .connectFailed, expectedCause: "not-listening"))
  }

  /// While A is stopped, B closes without an answer: two faults in `upstream pair`, and the next
  /// request finds no live upstream. The ordinary load pauses, because it would take nginx's one try
  /// of A away from us, and would itself find nobody.
  func disablePair() throws {
    try world.load.pauseAndDrain()
    let client = try client()
    // Both failures, and the request after them, must fall into one fail_timeout. That they do is
    // seen, not assumed: on a machine that stalls in between it is done again.
    for attempt in 1...10 {
      try waitUntilNginxHasJustTriedA(client)
      let closePath = uniquePath("/pair/fault/close", attempt)
      let begin = currentTime()
      let worker = b.workerPID
      let closed = try client.exchange("POST", closePath)
      let closedAt = currentTime()
      let afterPath = uniquePath("/pair/after", attempt)
      let after = try client.exchange("POST", afterPath)
      guard closed.status == 502, closed.headers["x-upstream"] == b.endpoint.description,
        after.status == 502, after.headers["x-upstream"] == "pair"
      else {
        try rest(milliseconds: 1000)
        continue
      }
      record(
        InjectedFault(
          id: next, kind: .closeWithoutAnswer,
          what: "backend B closed the connection without an answer", method: "POST",
          path: closePath, backend: b.endpoint, upstream: .tcp(b.endpoint), begin: begin,
          end: closedAt, clientStatus: closed.status, nginxWorker: world.nginxWorkerPID,
          backendWorker: worker, expectedMessage: .prematurelyClosed,
          expectedCause: "closed-without-response"))
      record(
        InjectedFault(
          id: next, kind: .peersDisabled, what: "both backends had failed within fail_timeout",
          method: "POST", path: afterPath, upstream: .group("pair"), begin: closedAt,
          end: currentTime(), clientStatus: after.status, nginxWorker: world.nginxWorkerPID,
          expectedMessage: .noLiveUpstreams, expectedCause: "peers-disabled"))
      return
    }
    throw ProbeError(
      doing: "disable both servers of upstream pair",
      reason: "ten times one of them was enabled again before the other one failed")
  }

  /// nginx tries a disabled server again when fail_timeout has passed. The answer's list of tried
  /// servers tells when it has just found A refusing: from now on A is disabled for another two
  /// seconds at least.
  private func waitUntilNginxHasJustTriedA(_ client: HTTPClient) throws {
    try wait(until: "nginx tries A again") {
      let response = try client.exchange("GET", "/pair/look/\(next)")
      let tried = response.headers["x-upstream"] ?? ""
      if tried.hasPrefix(a.endpoint.description) { return true }
      try rest(milliseconds: 50)
      return false
    }
  }

  /// Starts A again, and the load when nginx gives both servers requests: until then every ordinary
  /// request would be an error of its own.
  func startA() throws {
    try a.start()
    // nginx disables a server for fail_timeout to one second more (it counts in whole seconds).
    try rest(milliseconds: (NginxConfiguration.failTimeoutSeconds + 1) * 1000)
    let client = try client()
    var answered: Set<String> = []
    try wait(until: "nginx uses both servers again") {
      let response = try client.exchange("GET", "/pair/look/\(next)")
      if response.status == 200, let name = response.headers["x-backend"] { answered.insert(name) }
      try rest(milliseconds: 100)
      return answered.count == 2
    }
    world.load.resume()
  }
}
