import Evidence
import Glibc
import LabWorld

/// A fault that one request asks for: the application does it, or the server cannot bear the request.
struct Ask: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let token = injection.token(number)
    let answer = try injection.client.exchange(injection.request(token))
    return injection.record(token, answer) ? 1 : 0
  }
}

/// Many requests, until one fails by itself: what nobody can make happen at a given moment.
struct Provoke: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    var made = 0
    for index in 0..<min(Injection.span, injection.fault.number("tries", 50)) {
      let token = injection.token(number + index)
      let answer = try injection.client.exchange(injection.request(token))
      if answer.status == 200 { continue }
      if injection.record(token, answer) { made += 1 }
    }
    return made
  }
}
