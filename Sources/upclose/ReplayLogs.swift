import BackendProbe
import Evidence
import LinuxHost
import NginxProbe

/// The logs of a replay, told in the order of time and read only as far as they are needed: so a
/// replay's memory does not grow with its files.
final class ReplayLogs {
  /// Errors that are read ahead of the access log at most, and connections that are watched there.
  private static let mostAhead = 50_000
  private static let mostWatched = 65_536
  /// Entries may be a little out of order: of several workers, of several logs.
  static let disorder = TimeSpan.seconds(60)

  private final class Source {
    enum Reader {
      case errors(ErrorLogFile)
      case requests(AccessLogFile)
      case backend(BackendLogFile)
      /// What was read already, as the kernel's log.
      case done
    }

    let path: String
    let reader: Reader
    var waiting: [Observation] = []
    var position = 0
    var isAtEnd = false
    /// The latest time that was handed out, and how often it went back from there.
    var latest: Timestamp?
    var outOfOrder = 0

    init(_ path: String, _ reader: Reader) {
      self.path = path
      self.reader = reader
    }

    var head: Observation? { position < waiting.count ? waiting[position] : nil }

    func put(_ observation: Observation) {
      if position == waiting.count {
        waiting.removeAll(keepingCapacity: true)
        position = 0
      }
      waiting.append(observation)
    }
  }

  private var sources: [Source] = []
  /// The watched connections, the oldest first from `oldest` on.
  private var watched: [UInt64] = []
  private var oldest = 0
  /// What went wrong; what was read before stays true.
  private(set) var failures: [String] = []

  func add(_ file: ErrorLogFile) {
    file.keepsAll = keepsAll
    sources.append(Source(file.path, .errors(file)))
  }

  func add(_ file: AccessLogFile) { sources.append(Source(file.path, .requests(file))) }

  func add(_ file: BackendLogFile) { sources.append(Source("a backend's log", .backend(file))) }

  /// Adds events that are in memory.
  func add(_ observations: [Observation], from path: String) {
    let source = Source(path, .done)
    source.waiting = observations.enumerated()
      .sorted { ($0.element.time.best, $0.offset) < ($1.element.time.best, $1.offset) }
      .map(\.element)
    source.isAtEnd = true
    sources.append(source)
  }

  /// Whether every failure is told, however many there are alike: while there are packets beside them.
  var keepsAll = false {
    didSet {
      for source in sources {
        if case .errors(let file) = source.reader { file.keepsAll = keepsAll }
      }
    }
  }

  /// The next observation of all logs that is not after a time; nil when there is none.
  func next(until time: Timestamp = Timestamp(nanoseconds: .max)) -> Observation? {
    var first: Source?
    for source in sources {
      fill(source)
      guard let head = source.head, head.time.best <= time else { continue }
      if let known = first?.head, known.time.best <= head.time.best { continue }
      first = source
    }
    guard let first, let head = first.head else { return nil }
    first.position += 1
    if let latest = first.latest, head.time.best < latest - Self.disorder { first.outOfOrder += 1 }
    first.latest = max(first.latest ?? head.time.best, head.time.best)
    return head
  }

  /// The time of the first observation.
  var start: Timestamp? {
    for source in sources { fill(source) }
    return sources.compactMap { $0.head?.time.best }.min()
  }

  private func fill(_ source: Source) {
    guard source.head == nil, !source.isAtEnd else { return }
    do {
      switch source.reader {
      case .errors: try readError(source)
      case .requests(let file):
        if let horizon = try file.horizon() { readErrors(until: horizon) }
        if let next = try file.next() { source.put(next) } else { source.isAtEnd = true }
      case .backend(let file):
        if let next = try file.next() { source.put(next) } else { source.isAtEnd = true }
      case .done: break
      }
    } catch {
      source.isAtEnd = true
      failures.append("\(error)")
    }
  }

  private func readError(_ source: Source) throws {
    guard case .errors(let file) = source.reader else { return }
    guard let next = try file.next() else {
      source.isAtEnd = true
      return
    }
    source.put(next)
    if case .nginxLine(let line) = next.fact, let connection = line.connection { watch(connection) }
  }

  /// nginx writes an error before the request's line in the access log: those of a block's time say
  /// which connections to watch in it.
  private func readErrors(until time: Timestamp) {
    for source in sources {
      guard case .errors = source.reader else { continue }
      while !source.isAtEnd, source.waiting.count - source.position < Self.mostAhead,
        source.waiting.last.map({ $0.time.best <= time }) ?? true
      {
        do { try readError(source) } catch {
          source.isAtEnd = true
          failures.append("\(error)")
        }
      }
    }
  }

  private func watch(_ connection: UInt64) {
    let files = sources.compactMap { source -> AccessLogFile? in
      if case .requests(let file) = source.reader { file } else { nil }
    }
    guard !files.isEmpty else { return }
    if watched.count < Self.mostWatched {
      watched.append(connection)
    } else {
      for file in files { file.watchedConnections.remove(watched[oldest]) }
      watched[oldest] = connection
      oldest = (oldest + 1) % Self.mostWatched
    }
    for file in files { file.watchedConnections.insert(connection) }
  }

  /// The books of the logs, and what is wrong with them; at the end.
  var facts: [Observation.Fact] {
    var facts: [Observation.Fact] = []
    var books: [String: Counters] = [:]
    func add(_ counters: Counters) {
      guard var sum = books[counters.source] else {
        books[counters.source] = counters
        return
      }
      sum.seen += counters.seen
      sum.lost += counters.lost
      sum.details.merge(counters.details) { $0 + $1 }
      books[counters.source] = sum
    }
    for source in sources {
      switch source.reader {
      case .errors(let file): add(file.counters)
      case .requests(let file):
        add(file.counters)
        if let spot = file.format?.blindSpot { facts.append(.blindSpot(spot)) }
      case .backend(let file):
        add(file.counters)
        if let spot = file.blindSpot { facts.append(.blindSpot(spot)) }
      case .done: break
      }
      guard source.outOfOrder > 0 else { continue }
      facts.append(
        .blindSpot(
          BlindSpot(
            id: "log-order",
            what: "\(source.outOfOrder) entries of \(source.path) are more than a minute late",
            cost: "they may miss their closes, and the requests that they belong to",
            remedy: "give each log by itself: --error-log FILE --error-log FILE.1")))
    }
    return facts + books.values.sorted { $0.source < $1.source }.map { .counters($0) }
  }
}
