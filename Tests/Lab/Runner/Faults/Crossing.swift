import Evidence
import Glibc
import LabWorld

/// One connection is warmed, left alone for a while, and used again: at the moment at which the backend
/// closes it, so that the request crosses the FIN on the wire (`crossing`), or after something in
/// between has forgotten it (`idle`).
struct Crossing: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let client = injection.client
    let warm = injection.token(number + 1)
    let begin = monotonicMilliseconds()
    _ = try client.exchange(
      Client.Request(method: "GET", path: injection.path(warm, word: "warm")))
    let end = monotonicMilliseconds()
    // It is idle for the backend since its answer: half of the round trip before it was here. The
    // closes are aimed at from a little too early to a little too late, in turns.
    let offset = injection.fault.kind == "crossing" ? Int64(number / Injection.span % 7) - 3 : 0
    let idle = Int64(injection.fault.number("idle", 1000))
    try injection.rest(
      milliseconds: (begin + end) / 2 + idle + offset * 2 - monotonicMilliseconds())
    let token = injection.token(number)
    let answer = try client.exchange(
      Client.Request(method: injection.fault.method, path: injection.path(token, word: "ok")))
    return injection.record(token, answer) ? 1 : 0
  }
}
