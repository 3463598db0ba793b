import Evidence
import Glibc
import LinuxHost

/// The port probe's thread: who is to be checked when, on one engine.
struct PortSchedule {
  /// So long, and so often, a target is checked more closely after an error.
  private static let hurry: Int64 = 5_000_000_000
  private static let hurriedInterval: Int64 = 100_000_000
  /// A server that did not answer the question about TLS is asked again, but not for ever.
  private static let mostQuestions = 3
  /// So many connects are under way at once; the others wait.
  private static let mostPending = 256

  private struct Target {
    var endpoint: Endpoint
    var due: Int64
    var hurriedUntil: Int64 = 0
    var questions = 0
    var isAsking = false
    var speaksTLS: Bool?
  }

  private let host: String
  private let interval: Int64
  private let timeout: TimeSpan
  private let sink: ObservationSink
  private let engine: ConnectEngine
  private var targets: [Target] = []
  private var endpoints: [Endpoint] = []
  private var counters = Counters(source: "ports", seen: 0, lost: 0)
  private var counted = Counters(source: "ports", seen: 0, lost: 0)
  private var toldSpots: Set<Int32> = []

  init(
    host: String, interval: TimeSpan, timeout: TimeSpan, sink: @escaping ObservationSink
  ) throws {
    self.host = host
    self.interval = interval.nanoseconds
    self.timeout = timeout
    self.sink = sink
    var options = ConnectEngine.Options()
    options.timeout = timeout
    // Long enough for a reset by an application that is about to fail.
    options.settle = .milliseconds(20)
    engine = try ConnectEngine(options, inFlight: Self.mostPending)
  }

  /// - Parameter wished: becomes readable when `wishes` has something new.
  mutating func run(
    _ thread: ProbeThread, wished: Int32, _ wishes: () -> PortProbe.Wishes
  ) {
    engine.watch(thread.wake)
    engine.watch(wished)
    take(wishes(), monotonicNow())
    var nextCount = monotonicNow() + 1_000_000_000
    while !thread.shouldStop {
      startDue(monotonicNow())
      let due = targets.lazy.map(\.due).min() ?? .max
      let isFull = engine.pendingCount == engine.capacity
      let readable = engine.wait(until: isFull ? nextCount : min(nextCount, due))
      let now = monotonicNow()
      for result in engine.takeResults() { tell(result) }
      if readable.contains(wished) {
        var value: UInt64 = 0
        _ = read(wished, &value, 8)
        take(wishes(), now)
      }
      if now >= nextCount {
        nextCount = now + 1_000_000_000
        count()
      }
    }
    count()
  }

  /// Keeps the times of the targets that stay; new ones are due now.
  private mutating func take(_ wishes: PortProbe.Wishes, _ now: Int64) {
    if wishes.targets != endpoints {
      endpoints = wishes.targets
      let known = Dictionary(
        targets.map { ($0.endpoint, $0) }, uniquingKeysWith: { first, _ in first })
      targets = endpoints.map { known[$0] ?? Target(endpoint: $0, due: now) }
    }
    for endpoint in wishes.hurried {
      guard let index = targets.firstIndex(where: { $0.endpoint == endpoint }) else { continue }
      // One that is hurried already has its next check within a tenth of a second.
      if targets[index].hurriedUntil < now { targets[index].due = now }
      targets[index].hurriedUntil = now + Self.hurry
    }
  }

  private mutating func startDue(_ now: Int64) {
    for index in targets.indices where targets[index].due <= now {
      guard engine.pendingCount < engine.capacity else { return }
      let target = targets[index]
      let isHurried = target.hurriedUntil > now
      let length = isHurried ? min(Self.hurriedInterval, interval) : interval
      // A check that was missed is not made up for.
      targets[index].due = target.due + length > now ? target.due + length : now + length
      begin(target.endpoint, nil)
    }
  }

  /// - Returns: whether it was begun.
  @discardableResult
  private mutating func begin(
    _ endpoint: Endpoint, _ conversation: (any Conversation)?
  ) -> Bool {
    switch engine.start(endpoint, token: 0, conversation: conversation) {
    case .started: return true
    case .noRoom(let error), .failed(let error):
      counters.lost += 1
      counters.details["not made", default: 0] += 1
      guard toldSpots.insert(error).inserted else { return false }
      let spot = BlindSpot(
        id: "ports", what: "a port could not be probed: \(errorText(error))",
        cost: "whether \(endpoint) was open at the time of an error is not known")
      emit(.blindSpot(spot), at: TimeEstimate(exactly: currentTime()))
      return false
    }
  }

  /// A connect was answered at a moment; what was learnt later is told of that moment. One that was
  /// not answered says something about all the time since its SYN.
  private mutating func tell(_ result: ConnectEngine.Result) {
    var check = result.check
    if result.conversation != nil, check.outcome == .reset {
      // Our ClientHello was answered so, and not what nginx says.
      check.outcome = .open
      check.reason = nil
    }
    counters.seen += 1
    counters.details[check.outcome.rawValue, default: 0] += 1
    let now = currentTime()
    let ago = TimeSpan(nanoseconds: monotonicNow() - result.answered)
    let answered = TimeSpan(nanoseconds: result.answered - result.began)
    let time = TimeEstimate(best: now - ago, earliest: now - ago - answered, latest: now)
    emit(.port(check), at: time)
    askAboutTLS(result)
  }

  /// Once a target, when it is open; on a connection of its own, so that the checks stay alike.
  private mutating func askAboutTLS(_ result: ConnectEngine.Result) {
    guard let index = targets.firstIndex(where: { $0.endpoint == result.check.target }) else {
      return
    }
    if result.conversation != nil {
      targets[index].isAsking = false
      targets[index].speaksTLS = result.check.speaksTLS
      return
    }
    let target = targets[index]
    guard result.check.outcome == .open, target.speaksTLS == nil, !target.isAsking,
      target.questions < Self.mostQuestions, engine.pendingCount < engine.capacity
    else { return }
    targets[index].questions += 1
    targets[index].isAsking = begin(
      target.endpoint, TLSConversation(serverName: nil, timeout: timeout))
  }

  private mutating func count() {
    guard counters != counted else { return }
    counted = counters
    emit(.counters(counters), at: TimeEstimate(exactly: currentTime()))
  }

  private func emit(_ fact: Observation.Fact, at time: TimeEstimate) {
    sink(Observation(host: host, time: time, fact: fact))
  }
}
