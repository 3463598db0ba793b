import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// One stream of faults of a scenario: what a maker of faults works with. It lives on threads in nginx's
/// network namespace.
struct Injection: Sendable {
  var bed: Bed
  var fault: Scenario.FaultSpec
  /// Unique in the scenario.
  var stream: Int

  /// The kind's word in the path, which tells an application what to do.
  var word: String { fault["word"] ?? fault.kind }

  func token(_ number: Int) -> String { "lab\(stream)x\(number)z" }

  func path(_ token: String, word: String? = nil) -> String {
    (fault["at"] ?? "/\(fault.backend)/fault/\(word ?? self.word)") + "/\(token)"
      + (fault["ms"].map { "?ms=\($0)" } ?? "")
  }

  var client: Client { Client(frontend: bed.frontend) { [bed] in bed.isCancelled } }

  func server() throws -> Server { try bed.server(fault.backend) }

  /// The request that the scenario describes.
  func request(_ token: String) -> Client.Request {
    var request = Client.Request(method: fault.method, path: path(token))
    request.body = fault.number("body", 0)
    if let size = fault["header"].flatMap(Int.init) {
      request.headers.append("X-Large: " + String(repeating: "h", count: size))
    }
    return request
  }

  /// Writes down a fault if the client has felt it.
  /// - Returns: whether it has.
  @discardableResult
  func record(_ token: String, _ answer: Answer, close: Truth.Close = .wire, cause: String? = nil)
    -> Bool
  {
    guard isFailure(answer) else {
      bed.book.addFailure(
        "\(fault.backend) \(fault.kind)",
        "the client got \(answer.status.map(String.init) ?? "nothing")")
      return false
    }
    var truth = Truth(
      token: token, kind: fault.kind, cause: cause ?? fault.cause,
      backend: fault.backend == "pair" ? nil : fault.backend, answer: answer)
    truth.group = fault["group"]
    truth.needsDeed = fault["deed"] != "no"
    truth.close = fault["close"] == "none" ? .nothing : fault["close"] == "opened" ? .opened : close
    bed.book.add(truth)
    return true
  }

  private func isFailure(_ answer: Answer) -> Bool {
    if let wanted = fault["status"] {
      let status = answer.status.map(String.init) ?? "nothing"
      return wanted.split(separator: ",").contains {
        $0 == "cut" ? answer.status == 200 && !answer.isWhole : $0 == status
      }
    }
    return answer.status == 502 || answer.status == 504
  }

  /// - Throws: `Cancelled` when the scenario ends.
  func rest(milliseconds: Int64) throws {
    let end = monotonicMilliseconds() + milliseconds
    while monotonicMilliseconds() < end {
      if bed.isCancelled { throw Cancelled() }
      usleep(UInt32(min(20, max(1, end - monotonicMilliseconds()))) * 1000)
    }
  }

  /// The application says that it has this request.
  func awaitDeed(_ token: String, of server: Server, limit: Int64 = 5000) throws -> pid_t {
    var worker: pid_t?
    try wait(until: "backend \(server.name) has \(token)", limit: limit, every: 2) {
      worker = server.worker(of: token)
      return worker != nil || bed.isCancelled
    }
    guard let worker else { throw Cancelled() }
    return worker
  }
}

/// The scenario is over: not an error of anyone's.
struct Cancelled: Error {}

/// Makes faults of one kind.
protocol FaultMaker: Sendable {
  /// - Parameter number: unique in the stream; so are those up to the one before the next multiple of
  ///   `Injection.span`.
  /// - Returns: how many faults were made.
  func make(_ number: Int, _ injection: Injection) throws -> Int
}

extension Injection {
  /// Numbers that one call of a maker may use.
  static let span = 100

  var maker: any FaultMaker {
    switch fault.kind {
    case "stale", "limit", "reload": StaleRace()
    case "crossing", "idle": Crossing()
    case "silence", "unroutable", "blackhole": Firewall()
    case "forge": ForgedReset()
    case "queue": FullQueue()
    case "crowd": Crowd()
    case "disable": DisabledPeers()
    case "kill": KilledWorker()
    case "restart": Restart()
    case "refused": Refused()
    case "provoke": Provoke()
    default: Ask()
    }
  }

  /// Makes the whole stream on `parallel` threads, and waits for them.
  func run() throws {
    let tally = Tally()
    let begin = monotonicMilliseconds()
    let threads = try (0..<fault.parallel).map { _ in
      try ProbeThread.start("lab-fault") { [self] thread in
        if enter() { work(tally, begin) }
        tally.ended.wrappingAdd(1, ordering: .releasing)
      }
    }
    try wait(until: "the faults are made", limit: .max / 2, every: 20) {
      tally.ended.load(ordering: .acquiring) == threads.count
    }
    for thread in threads { thread.stop() }
  }

  private final class Tally: Sendable {
    let made = Atomic<Int>(0)
    let begun = Atomic<Int>(0)
    let ended = Atomic<Int>(0)
  }

  private func enter() -> Bool {
    let namespace = open(bed.nginxSpace.path, O_RDONLY | O_CLOEXEC)
    guard namespace >= 0 else { return false }
    defer { close(namespace) }
    return clinux_setns(namespace, clinux_CLONE_NEWNET) == 0
  }

  private func work(_ tally: Tally, _ begin: Int64) {
    let maker = maker
    while !bed.isCancelled, tally.made.load(ordering: .relaxed) < fault.count {
      let number = tally.begun.wrappingAdd(1, ordering: .relaxed).newValue
      // What does not succeed is tried again, but not for ever.
      guard number <= fault.count * 2 + 5 else { return }
      do {
        if fault.rate > 0 {
          let due = begin + Int64(Double(number - 1) * 1000 / fault.rate)
          try rest(milliseconds: due - monotonicMilliseconds())
        }
        tally.made.wrappingAdd(try maker.make(number * Self.span, self), ordering: .relaxed)
      } catch is Cancelled {
        return
      } catch {
        bed.book.addFailure("\(fault.backend) \(fault.kind)", "\(error)")
      }
    }
  }
}
