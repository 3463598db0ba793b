import Evidence
import Glibc
import LabWorld

/// A worker is killed from outside while it has a request.
struct KilledWorker: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    let token = injection.token(number)
    let client = injection.client
    let pending = try client.send(
      Client.Request(
        method: injection.fault.method,
        path: injection.path(token, word: "slow") + (injection.fault["ms"] == nil ? "?ms=8000" : "")
      ))
    let worker = try injection.awaitDeed(token, of: server)
    kill(worker, signal(injection.fault["signal"] ?? "KILL"))
    let made = injection.record(token, client.finish(pending))
    // The next one is for a worker that has taken its place.
    try injection.rest(milliseconds: Int64(injection.fault.number("pause", 250)))
    return made ? 1 : 0
  }

  private func signal(_ name: String) -> Int32 {
    switch name {
    case "TERM": SIGTERM
    case "SEGV": SIGSEGV
    case "ABRT": SIGABRT
    default: SIGKILL
    }
  }
}

/// The whole backend is stopped and started again, as in a deploy, while it has requests; those that
/// come while it is away find nobody.
struct Restart: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    let client = injection.client
    let batch = injection.fault.number("batch", 2)
    var pending: [(token: String, request: Client.Pending)] = []
    for index in 0..<batch {
      let token = injection.token(number + index)
      let query = injection.fault["ms"] == nil ? "?ms=8000" : ""
      pending.append(
        (
          token,
          try client.send(
            Client.Request(
              method: injection.fault.method,
              path: injection.path(token, word: "slow") + query))
        ))
      _ = try injection.awaitDeed(token, of: server)
    }
    server.signal(injection.fault["signal"] == "KILL" ? SIGKILL : server.launch.stopSignal)
    server.awaitEnd()
    var made = 0
    for (token, request) in pending where injection.record(token, client.finish(request)) {
      made += 1
    }
    try server.start()
    try injection.rest(milliseconds: Int64(injection.fault.number("pause", 300)))
    return made
  }
}

/// The backend is stopped, and asked: nothing listens.
struct Refused: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    server.stop()
    // A request on a connection whose FIN nginx has not taken yet would be another fault.
    try wait(until: "nginx has closed its connections to \(server.name)") {
      try injection.bed.connections(to: server).values.allSatisfy {
        $0 != .established && $0 != .closeWait
      }
    }
    var made = 0
    for index in 0..<injection.fault.number("batch", 4) {
      let token = injection.token(number + index)
      let answer = try injection.client.exchange(
        Client.Request(method: injection.fault.method, path: injection.path(token, word: "ok")))
      let close: Truth.Close = server.launch.unixSocket == nil ? .opened : .nothing
      if injection.record(token, answer, close: close) { made += 1 }
    }
    try server.start()
    return made
  }
}
