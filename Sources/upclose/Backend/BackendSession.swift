import Correlator
import Evidence
import LinuxHost
import Report

/// A session on a backend's host: a line for each process that ends, for each connection that ends as
/// none should, and for what the kernel and the backend's own log say of it.
final class BackendSession {
  private var chronicle: HostChronicle
  private let targets: BackendTargets?
  private let watch: Watch
  private let output: Output
  private let options: OutputOptions
  private let text: HostEventText
  private var endpoints: Set<Endpoint>
  private var counts: [HostEvent.Kind: Int] = [:]
  private var crowd = HostCrowd()
  private var lastLook: Timestamp?
  private(set) var foundFailures = false

  /// How often addresses and listeners are looked at again.
  private static let interval = TimeSpan.seconds(5)

  init(_ command: AttachCommand, _ targets: Targets, _ watch: Watch, to output: Output) {
    endpoints = Set(targets.endpoints)
    chronicle = HostChronicle(endpoints: endpoints)
    self.targets = targets.backend
    self.watch = watch
    self.output = output
    options = command.output
    text = HostEventText(
      TextStyle(
        isColored: command.output.color.isColored(output.descriptor), width: nil,
        utcOffset: utcOffset(at: currentTime())))
  }

  /// Takes part in a session.
  func follow(_ session: LiveSession) {
    session.printsSummary = false
    let before = session.onObservation
    session.onObservation = { [self] observation in
      before(observation)
      chronicle.observe(observation)
    }
    session.onRound = { [self] watermark in
      tell(chronicle.advance(to: watermark), at: watermark)
      lookAgain(watermark)
    }
  }

  /// Tells the rest, and sums up.
  func finish(_ summary: Summary) {
    tell(chronicle.finish(), at: nil)
    guard options.format == .text else { return }
    output.write("\n" + text.summary(counts, summary) + "\n")
    output.flush()
  }

  private func tell(_ events: [HostEvent], at time: Timestamp?) {
    for event in events {
      counts[event.kind, default: 0] += 1
      if event.isFailure { foundFailures = true }
      switch options.format {
      case .ndjson: output.write(HostEventJSON.object(event).compact + "\n")
      default:
        if crowd.admits(event) { output.write(text.line(event) + "\n") }
      }
    }
    if options.format == .text {
      for line in crowd.release(at: time) { output.write(line + "\n") }
    }
    output.flush()
  }

  /// An address may have come, or another listener.
  private func lookAgain(_ now: Timestamp) {
    guard let targets, now - (lastLook ?? Timestamp(nanoseconds: 0)) >= Self.interval else {
      return
    }
    lastLook = now
    guard let found = try? targets.current() else { return }
    // What was watched stays so: a service that restarts listens on nothing for a while.
    let all = endpoints.union(found)
    guard all != endpoints else { return }
    endpoints = all
    chronicle.watch(all)
    watch.watch(all.sorted())
  }
}

/// Keeps a flood of like events from filling the terminal: of one kind on one endpoint a few are
/// printed in ten seconds, and the rest as one line with their number.
struct HostCrowd {
  private struct Key: Hashable {
    var kind: HostEvent.Kind
    var endpoint: Endpoint?
  }
  private struct Group {
    var since: Timestamp
    var printed = 0
    var held = 0
  }
  private var groups: [Key: Group] = [:]

  mutating func admits(_ event: HostEvent) -> Bool {
    let key = Key(kind: event.kind, endpoint: event.endpoint)
    let time = event.time.best
    var group = groups[key] ?? Group(since: time)
    if time - group.since >= Crowd.span, group.held == 0 { group = Group(since: time) }
    let isAdmitted = group.printed < Crowd.shown
    if isAdmitted { group.printed += 1 } else { group.held += 1 }
    groups[key] = group
    return isAdmitted
  }

  /// A line for each crowd whose ten seconds are over by then; nil: for every one.
  mutating func release(at time: Timestamp?) -> [String] {
    var lines: [String] = []
    for (key, group) in groups where time.map({ $0 - group.since >= Crowd.span }) ?? true {
      groups[key] = nil
      guard group.held > 0 else { continue }
      let place = key.endpoint.map { "\($0) " } ?? ""
      lines.append("… \(group.held) more of the same: \(place)\(key.kind.rawValue)")
    }
    return lines.sorted()
  }
}
