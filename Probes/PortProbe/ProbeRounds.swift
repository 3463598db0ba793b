import Evidence
import Glibc
import LinuxHost

/// The port probe's thread: who is to be asked when, and the connects under way.
struct ProbeRounds {
  private let host: String
  private let interval: Int64
  private let timeout: Int64
  private let sink: ObservationSink

  /// Every target waits the same time between two checks, so a queue in order of its due times stays
  /// in order.
  private var queue: [(target: Endpoint, due: Int64)] = []
  private var targets: [Endpoint] = []
  private var pending: [Int32: ConnectAttempt] = [:]
  private var counters = Counters(source: "ports", seen: 0, lost: 0)
  private var counted = Counters(source: "ports", seen: 0, lost: 0)
  private var toldSpots: Set<Int32> = []

  /// So many connects are under way at once; the others wait.
  private static let mostPending = 256

  init(host: String, interval: TimeSpan, timeout: TimeSpan, sink: @escaping ObservationSink) {
    self.host = host
    self.interval = interval.nanoseconds
    self.timeout = timeout.nanoseconds
    self.sink = sink
  }

  mutating func run(_ thread: ProbeThread, _ current: () -> [Endpoint]) {
    var nextCount = ConnectAttempt.monotonic() + 1_000_000_000
    while !thread.shouldStop {
      let now = ConnectAttempt.monotonic()
      take(current(), now)
      startDue(now)
      wait(thread)
      if ConnectAttempt.monotonic() >= nextCount {
        nextCount += 1_000_000_000
        count()
      }
    }
    for attempt in pending.values { close(attempt.descriptor) }
    count()
  }

  /// Keeps the times of the targets that stay; new ones are due now.
  private mutating func take(_ new: [Endpoint], _ now: Int64) {
    guard new != targets else { return }
    let kept = Set(new)
    let known = Set(targets)
    queue.removeAll { !kept.contains($0.target) }
    queue.insert(contentsOf: new.filter { !known.contains($0) }.map { ($0, now) }, at: 0)
    targets = new
  }

  private mutating func startDue(_ now: Int64) {
    var started = 0
    while started < queue.count, queue[started].due <= now, pending.count < Self.mostPending {
      let (target, due) = queue[started]
      started += 1
      begin(target)
      // A round that was missed is not made up for.
      let next = due + interval > now ? due + interval : now + interval
      queue.append((target, next))
    }
    queue.removeFirst(started)
  }

  private mutating func begin(_ target: Endpoint) {
    let began = ConnectAttempt.monotonic()
    switch ConnectAttempt.start(target, timeout: timeout) {
    case .pending(let attempt): pending[attempt.descriptor] = attempt
    case .finished(let check): tell(check, since: began)
    case .failed(let error):
      counters.lost += 1
      counters.details["not made", default: 0] += 1
      guard toldSpots.insert(error).inserted else { return }
      let spot = BlindSpot(
        id: "ports", what: "a port could not be probed: \(errorText(error))",
        cost: "whether \(target) was open at the time of an error is not known")
      emit(.blindSpot(spot), at: TimeEstimate(exactly: currentTime()))
    }
  }

  /// Until the next target is due, a connect is decided or too old, or the second is over.
  private mutating func wait(_ thread: ProbeThread) {
    let now = ConnectAttempt.monotonic()
    var until = now + 200_000_000
    if let first = queue.first, pending.count < Self.mostPending { until = min(until, first.due) }
    for attempt in pending.values { until = min(until, attempt.deadline) }
    var polled = [pollfd(fd: thread.wake, events: Int16(POLLIN), revents: 0)]
    polled += pending.keys.map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
    let length = max(0, until - now)
    let milliseconds = Int32(clamping: (length + 999_999) / 1_000_000)
    guard poll(&polled, nfds_t(polled.count), milliseconds) >= 0 else { return }
    for entry in polled.dropFirst() where entry.revents != 0 {
      if let attempt = pending.removeValue(forKey: entry.fd) {
        tell(attempt.finish(), since: attempt.began)
      }
    }
    let after = ConnectAttempt.monotonic()
    for (descriptor, attempt) in pending where attempt.deadline <= after {
      pending[descriptor] = nil
      tell(attempt.expire(), since: attempt.began)
    }
  }

  /// The answer came, or did not come, between the SYN and now.
  private mutating func tell(_ check: PortCheck, since began: Int64) {
    counters.seen += 1
    counters.details[check.outcome.rawValue, default: 0] += 1
    let now = currentTime()
    let elapsed = TimeSpan(nanoseconds: ConnectAttempt.monotonic() - began)
    emit(.port(check), at: TimeEstimate(best: now, earliest: now - elapsed, latest: now))
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
