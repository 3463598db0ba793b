import Evidence
import Glibc
import LinuxHost
import PortProbe
import Sweep

/// Runs rounds over targets until they are done or it is told to end: one thread, one engine.
final class SweepRunner {
  struct Ending {
    /// Some target is down, or was.
    var someDown: Bool
    /// Some target could not be checked at all.
    var isIncomplete: Bool
  }

  let command: SweepCommand
  let printer: SweepPrinter
  private(set) var book: TargetBook
  private let signals: Int32
  private let engine: ConnectEngine
  private var queue: StartQueue
  private var directory: TargetDirectory
  private var isIncomplete = false
  private var someDown = false
  private var isEnding = false
  private var toldErrors: Set<Int32> = []

  private(set) var roundsDone = 0
  private(set) var roundsMissed = 0
  /// What the round under way still waits for.
  private var outstanding = 0
  private var isInRound = false
  private var roundStart: Int64 = 0
  private var nextRound: Int64
  private(set) var lastRound = TimeSpan.zero
  private var keepalives = 0
  private var hasMeasured = false
  /// Monotonic nanoseconds to the epoch.
  private var clockOffset: Int64 = 0

  private static let keepaliveToken = 1 << 40

  /// Looks up the names and prepares everything.
  /// - Throws: `ProbeError` when there is nothing to check or no way to.
  init(
    _ command: SweepCommand, sources: SweepSources, printer: SweepPrinter, signals: Int32
  ) throws {
    self.command = command
    self.printer = printer
    self.signals = signals
    let descriptors = DescriptorLimit.raise()
    directory = try TargetDirectory(
      sources, interval: command.repeating.resolveEvery.span, repeats: command.repeating.isPeriodic)
    for error in sources.errors { complain("upclose: \(error)") }
    isIncomplete = !sources.errors.isEmpty
    let isTold = directory.waitForAll(signals: signals)
    for failure in directory.failures { complain("upclose: \(failure)") }
    if !directory.failures.isEmpty { isIncomplete = true }
    let targets = directory.targets
    guard isTold, !targets.isEmpty else {
      throw ProbeError(
        doing: "sweep", reason: isTold ? "there is no target" : "told to end while looking up names"
      )
    }
    book = TargetBook(
      keepsHistories: command.repeating.isPeriodic || command.textfile != nil
        || command.output.format == .json)
    _ = book.replace(with: targets)
    let options = command.connecting.engineOptions(targets: targets.count)
    let inFlight = min(command.connecting.inFlight, descriptors.free, max(64, targets.count * 2))
    engine = try ConnectEngine(options, inFlight: inFlight)
    queue = StartQueue(rate: command.connecting.rate)
    nextRound = monotonicNow()
    engine.watch(signals)
    for descriptor in directory.descriptors { engine.watch(descriptor) }
    let wanted = min(command.connecting.inFlight, targets.count)
    if wanted > inFlight, !command.output.quiet {
      complain(
        "\(inFlight) connects at once instead of \(wanted): this process may have only "
          + "\(descriptors.limit) descriptors (ulimit -n)")
    }
  }

  func run() throws -> Ending {
    try checkBinding()
    printer.begin(self)
    while true {
      let now = monotonicNow()
      if !isInRound, !isEnding, !isDone, now >= nextRound { startRound(now) }
      for failure in queue.start(on: engine, conversation) { failed(failure.item, failure.error) }
      let readable = engine.wait(until: wakeTime())
      takeResults()
      if !readable.isEmpty { handle(readable) }
      if isInRound, outstanding == 0 { try endRound() }
      if printer.failure != nil || isEnding { break }
      if isDone, !isInRound, keepalives == 0 { break }
    }
    if book.anyOutage { someDown = true }
    if let shortage = queue.shortage, !command.output.quiet {
      complain("connects had to wait for others: \(errorText(shortage))")
    }
    return Ending(someDown: someDown, isIncomplete: isIncomplete)
  }

  private var isDone: Bool { command.repeating.rounds.map { roundsDone >= $0 } ?? false }

  /// Wakes for the next start, the next round, or the next look of the table.
  private func wakeTime() -> Int64 {
    var until = monotonicNow() + 1_000_000_000
    if let due = queue.due(engine) { until = min(until, due) }
    if !isInRound, !isDone { until = min(until, nextRound) }
    return until
  }

  /// An address that this host does not have would fail each target.
  private func checkBinding() throws {
    for argument in command.connecting.bind {
      guard let error = ConnectEngine.bindingError(argument.address) else { continue }
      throw ProbeError(
        doing: "connect from \(argument.address)", reason: errorText(error),
        remedy: "--bind takes an address of this host")
    }
  }

  private func startRound(_ now: Int64) {
    isInRound = true
    roundStart = now
    let items = book.indices.map {
      StartQueue.Item(target: book[$0].endpoint, token: $0)
    }
    outstanding = items.count
    queue.add(items)
    guard let every = command.repeating.every?.span.nanoseconds else { return }
    // A round that was missed is not made up for.
    nextRound += every
    if nextRound <= now {
      let missed = (now - nextRound) / max(1, every) + 1
      if every > 0 { roundsMissed += Int(missed) }
      nextRound += missed * every
    }
  }

  private func conversation(_ item: StartQueue.Item) -> (any Conversation)? {
    let asking = command.asking
    let isKeepalive = item.token >= Self.keepaliveToken
    guard isKeepalive || asking.tls || asking.http != nil else { return nil }
    let target = book[item.token & (Self.keepaliveToken - 1)]
    let timeout = command.connecting.timeout.span
    if isKeepalive {
      return KeepaliveConversation(
        path: asking.http ?? "/", host: target.host, mostRequests: asking.keepaliveRequests,
        longestIdle: asking.keepaliveIdle.span, timeout: timeout)
    }
    if asking.tls { return TLSConversation(serverName: target.name, timeout: timeout) }
    return asking.http.map { HTTPConversation(path: $0, host: target.host, timeout: timeout) }
  }

  private func takeResults() {
    let results = engine.takeResults()
    guard !results.isEmpty else { return }
    clockOffset = currentTime().nanoseconds - monotonicNow()
    for result in results { take(result) }
    printer.flushWhatWaits()
  }

  private func take(_ result: ConnectEngine.Result) {
    let time = Timestamp(nanoseconds: clockOffset + result.answered)
    let index = result.token & (Self.keepaliveToken - 1)
    let isKeepalive = result.token >= Self.keepaliveToken
    if isKeepalive { keepalives -= 1 } else { outstanding -= 1 }
    // A name may have moved on meanwhile.
    guard book.holds(index, result.check.target) else { return }
    let target = book[index]
    if isKeepalive {
      let measured = result.conversation as? KeepaliveConversation
      let advice = directory.upstream(of: target.endpoint)
      printer.keepalive(result.check, target, at: time, measured?.finding, advice)
      return
    }
    let isGood = Self.isGood(result)
    if !isGood, !command.repeating.isPeriodic { someDown = true }
    let change = book.observe(
      index, result.check, isGood: isGood, at: time, command.repeating.hysteresis)
    printer.check(result, target, at: time, isGood: isGood, change)
  }

  /// Open; and where a path was asked for, answered, and not with a server's error.
  private static func isGood(_ result: ConnectEngine.Result) -> Bool {
    guard result.check.outcome == .open else { return false }
    guard let http = result.conversation as? HTTPConversation else { return true }
    return result.check.reason == nil && (http.status ?? 500) < 500
  }

  private func failed(_ item: StartQueue.Item, _ error: Int32) {
    if item.token >= Self.keepaliveToken { keepalives -= 1 } else { outstanding -= 1 }
    isIncomplete = true
    guard toldErrors.insert(error).inserted else { return }
    complain("upclose: cannot connect to \(item.target) from here: \(errorText(error))")
  }

  private func endRound() throws {
    isInRound = false
    roundsDone += 1
    lastRound = TimeSpan(nanoseconds: monotonicNow() - roundStart)
    if let path = command.textfile {
      try writeAtomically(PrometheusText.render(book.series, now: currentTime()), to: path)
    }
    if command.asking.expectKeepalive, !hasMeasured { measureKeepalive() }
    printer.roundEnded(self)
  }

  /// Once, of those that are open.
  private func measureKeepalive() {
    hasMeasured = true
    let open = book.indices.filter { book.wasOpen($0) }
    keepalives = open.count
    queue.add(
      open.map {
        StartQueue.Item(target: book[$0].endpoint, token: $0 | Self.keepaliveToken)
      })
    guard !open.isEmpty, !command.output.quiet else { return }
    complain(
      "measuring the keepalive of \(SweepText.count(open.count, "target")): up to "
        + "\(command.asking.keepaliveRequests) requests, then up to "
        + "\(command.asking.keepaliveIdle.span) idle")
  }

  private func handle(_ readable: [Int32]) {
    if readable.contains(signals) { isEnding = true }
    guard readable.contains(where: directory.descriptors.contains) else { return }
    let events = directory.update()
    let changes = book.replace(with: directory.targets)
    for event in events { printer.event(event) }
    for target in changes.gone where events.isEmpty { printer.event("\(target.label) is gone") }
    for target in changes.new where events.isEmpty { printer.event("\(target.label) is new") }
  }
}
