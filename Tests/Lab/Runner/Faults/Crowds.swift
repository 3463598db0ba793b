import Evidence
import Glibc
import LabWorld

/// More requests at once than nginx has of something: those that it cannot serve.
struct Crowd: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let client = injection.client
    // nginx takes no client for whom it has no slots; so all are there, each with half a request,
    // before the first needs a connection to a backend.
    var pending: [(String, Client.Pending)] = []
    for index in 0..<min(injection.fault.number("batch", 30), Injection.span) {
      let token = injection.token(number + index)
      let path = injection.path(token, word: "ok") + "?ms=400"
      pending.append(
        (
          token,
          try client.send(
            Client.Request(method: injection.fault.method, path: path), withheld: 2)
        ))
    }
    try injection.rest(milliseconds: 100)
    for (_, request) in pending { client.push(request) }
    var made = 0
    for (token, request) in pending {
      let answer = client.finish(request)
      if answer.status == 200 { continue }
      if injection.record(token, answer, close: .nothing) { made += 1 }
    }
    try injection.rest(milliseconds: 300)
    return made
  }
}

/// Both servers of `upstream pair` close without an answer, and the request after them finds nobody.
struct DisabledPeers: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    var made = 0
    for index in 0..<6 {
      let token = injection.token(number + index)
      let answer = try injection.client.exchange(
        Client.Request(
          method: injection.fault.method, path: injection.path(token, word: "close")))
      let done = injection.bed.servers.first { Deed.of(token, in: $0.deeds) != nil }
      var truth = Truth(
        token: token, kind: injection.fault.kind, cause: "closed-without-response",
        backend: done?.name, answer: answer)
      if done == nil {
        // Nobody had it: both had failed within fail_timeout.
        truth.cause = injection.fault.cause
        truth.group = "pair"
        truth.close = .nothing
        truth.needsDeed = false
      }
      guard answer.status == 502 else {
        injection.bed.book.addFailure("pair disable", "the client got \(answer.status ?? 0)")
        continue
      }
      injection.bed.book.add(truth)
      made += 1
    }
    // fail_timeout is 2 s, counted in whole seconds.
    try injection.rest(milliseconds: 3200)
    return made
  }
}
