import CLinux
import Evidence
import Glibc
import LinuxHost

/// The backend probe's work, all of it on its own thread.
final class LogFollower {
  /// How long before it is read a line may have been written, when the reader was waiting for it.
  static let wakeLatency = TimeSpan.milliseconds(100)
  /// Also when inotify says nothing (a network file system); and to see a rotation.
  private static let tick: Int32 = 250
  private static let mostLogs = 64

  private let host: String
  private let inotify: Int32
  private let finder: LogFinder
  private let stamps: LineStamp.Context
  private var files: [FollowedFile] = []
  private var journals: [FollowedJournal] = []
  /// The processes whose descriptors were looked at: a new one is a new worker.
  private var looked: Set<Looked> = []
  private struct Looked: Hashable {
    var pid: Int32
    var startTicks: UInt64?
  }
  private static let mostLooked = 10_000
  private var spots: [BlindSpot] = []
  private var told: Set<BlindSpot> = []
  private var counters = Counters(source: "backend logs", seen: 0, lost: 0)
  private var counted: Counters?

  init(host: String, inotify: Int32, table: ProcTable, utcOffset: Int) {
    self.host = host
    self.inotify = inotify
    finder = LogFinder(table: table)
    stamps = LineStamp.Context(utcOffset: utcOffset, reference: nil)
  }

  deinit { close(inotify) }

  func follow(_ source: BackendLogSource) {
    guard files.count + journals.count < Self.mostLogs,
      !files.contains(where: { $0.source.path == source.path }),
      !journals.contains(where: { $0.source.path == source.path })
    else { return }
    if let unit = source.unit {
      do {
        journals.append(try FollowedJournal(source, unit: unit, stamps: stamps))
      } catch { tellLater(error as? ProbeError) }
      return
    }
    files.append(FollowedFile(source, inotify: inotify, fromEnd: true, stamps: stamps))
  }

  func run(_ thread: ProbeThread, _ inbox: Mailbox, _ sink: ObservationSink) {
    while true {
      let pipes = journals.map(\.descriptor).filter { $0 >= 0 }
      let ready = thread.waitReadable(
        [inotify, inbox.descriptor] + pipes, milliseconds: Self.tick)
      if ready.contains(inotify) { drainEvents() }
      for request in inbox.take() { take(request, sink) }
      service(sink)
      tellProblems(sink)
      if thread.shouldStop { break }
    }
    for file in files {
      file.finish { line, arrival in take(line, arrival, since: file.lastEmpty, file, sink) }
    }
    for journal in journals { journal.stop() }
    tellBooks(sink)
  }

  private func take(_ request: Mailbox.Request, _ sink: ObservationSink) {
    switch request {
    case .process(let process):
      guard looked.insert(Looked(pid: process.pid, startTicks: process.startTicks)).inserted
      else { return }
      if looked.count > Self.mostLooked { looked.removeAll() }
      let found = finder.logs(of: process)
      for source in found.logs { follow(source) }
      if let spot = found.blindSpot { spots.append(spot) }
    case .failure(let upstream):
      let now = currentTime()
      for file in files where concerns(file.source, upstream) {
        for kept in file.context.failed(at: now) {
          tell(kept.line, kept.arrival, since: kept.since, file.reader, sink)
        }
      }
      for journal in journals where concerns(journal.source, upstream) {
        for kept in journal.context.failed(at: now) {
          tell(kept.line, kept.arrival, since: kept.since, journal.reader, sink)
        }
      }
    }
  }

  private func concerns(_ source: BackendLogSource, _ upstream: UpstreamPeer?) -> Bool {
    source.upstream == nil || upstream == nil || source.upstream == upstream
  }

  private func service(_ sink: ObservationSink) {
    for file in files {
      let since = file.lastEmpty
      file.service { line, arrival in take(line, arrival, since: since, file, sink) }
    }
    for journal in journals where journal.descriptor >= 0 {
      let goesOn = journal.service { line, arrival in
        counters.seen += 1
        if line.wording != nil || journal.context.add(.init(line: line, arrival: arrival)) {
          tell(line, arrival, since: nil, journal.reader, sink)
        }
      }
      if !goesOn {
        tellLater(
          ProbeError(
            doing: "follow \(journal.source.shownPath)", reason: "journalctl ended",
            remedy: "see what `journalctl --follow --unit=…` says"))
      }
    }
    tellBooks(sink)
  }

  private func take(
    _ line: LineReader.Line, _ arrival: Timestamp, since: Timestamp?, _ file: FollowedFile,
    _ sink: ObservationSink
  ) {
    counters.seen += 1
    let kept = ContextLines.Kept(line: line, arrival: arrival, since: since)
    guard line.wording != nil || file.context.add(kept) else { return }
    tell(line, arrival, since: since, file.reader, sink)
  }

  private func tell(
    _ line: LineReader.Line, _ arrival: Timestamp, since: Timestamp?, _ reader: LineReader,
    _ sink: ObservationSink
  ) {
    counters.details["told", default: 0] += 1
    sink(
      Observation(
        host: host, time: Self.estimate(line.stamp, arrival: arrival, since: since),
        fact: .backendLine(reader.fact(line))))
  }

  /// When a line was written: not later than it came, and not before the log was last read to its
  /// end, unless its writer buffers; then its own stamp is earlier, and told instead.
  static func estimate(
    _ stamp: LineStamp?, arrival: Timestamp, since: Timestamp?
  ) -> TimeEstimate {
    let bound = max(since ?? arrival - .seconds(1), arrival - wakeLatency)
    guard let stamp, stamp.time <= arrival, arrival - stamp.time < .seconds(60) else {
      // None, or of another zone's clock.
      return TimeEstimate(best: arrival, earliest: bound, latest: arrival)
    }
    if stamp.isWholeSecond {
      let end = stamp.time + .seconds(1)
      if arrival <= end + wakeLatency {
        return TimeEstimate(best: arrival, earliest: max(bound, stamp.time), latest: arrival)
      }
      return TimeEstimate(best: end, earliest: stamp.time, latest: arrival)
    }
    // Stamped when it was composed, and written a moment later.
    return TimeEstimate(best: stamp.time, earliest: stamp.time, latest: arrival)
  }

  /// The events only wake: every file is looked at.
  private func drainEvents() {
    withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { buffer in
      while read(inotify, buffer.baseAddress, buffer.count) > 0 {}
    }
  }

  private func tellLater(_ problem: ProbeError?) {
    guard let problem else { return }
    spots.append(
      BlindSpot(
        id: "backend-log", what: "cannot \(problem.doing): \(problem.reason)",
        cost: "what the backend says of its own end is not known", remedy: problem.remedy))
  }

  private func tellProblems(_ sink: ObservationSink) {
    for file in files where file.source.owner == nil { tellLater(file.problem) }
    for spot in spots where told.insert(spot).inserted {
      sink(
        Observation(
          host: host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot)))
    }
    spots = []
  }

  private func tellBooks(_ sink: ObservationSink) {
    counters.details["logs"] = UInt64(files.count + journals.count)
    // Without a log there are no books: silence must not look like a log that says nothing.
    guard counters != counted, !files.isEmpty || !journals.isEmpty else { return }
    counted = counters
    sink(
      Observation(
        host: host, time: TimeEstimate(exactly: currentTime()), fact: .counters(counters)))
  }
}
