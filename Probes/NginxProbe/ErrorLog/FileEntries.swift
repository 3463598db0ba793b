import Evidence

/// What becomes of the entries of a log file: observations, or counts.
struct FileEntries {
  let path: String
  let options: LogOptions
  private(set) var counts = LogCounts()
  private(set) var sieve = FailureSieve()
  /// Counts all, and nothing else is done.
  var census: LogCensus?
  /// See `ErrorLogFile.keepsAll`.
  var keepsAll = false
  var ready: [Observation] = []
  /// The end of the last entry.
  private(set) var end: UInt64
  private var parser: ErrorLogParser
  private var quick = QuickEntry()

  init(path: String, options: LogOptions, from offset: UInt64) {
    self.path = path
    self.options = options
    end = offset
    parser = options.parser
  }

  mutating func take(_ entry: Span<UInt8>, _ offset: UInt64) {
    if options.onlyUpstreamFailures || census != nil {
      entry.withUnsafeBufferPointer { takeQuickly($0, offset) }
    } else {
      takeWhole(entry, offset)
    }
  }

  private mutating func takeWhole(_ entry: Span<UInt8>, _ offset: UInt64) {
    switch parser.parse(entry, path: path, offset: offset) {
    case .line(let line):
      counts.lines += 1
      tell(line)
    case .skipped:
      counts.lines += 1
      counts.skipped += 1
    case .malformed:
      counts.notParsed += 1
      return
    }
    end = offset + UInt64(entry.count)
  }

  private mutating func tell(_ line: NginxLine) {
    ready.append(
      Observation(
        host: options.host, time: TimeEstimate(stamped: line.stamped), fact: .nginxLine(line)))
  }

  /// Of a long log most lines are counted only: their kind is all that is looked at.
  private mutating func takeQuickly(_ bytes: UnsafeBufferPointer<UInt8>, _ offset: UInt64) {
    switch quick.look(at: bytes) {
    case .other(let kind):
      counts.lines += 1
      end = offset + UInt64(bytes.count)
      if census != nil {
        census?.count(kind, worker: quick.pid, upstream: .init(start: nil, count: 0))
      } else if kind.isWantedBesideFailures {
        takeWhole(bytes.span, offset)
        counts.lines -= 1
      } else {
        counts.passedOver += 1
      }
    case .failure:
      counts.lines += 1
      end = offset + UInt64(bytes.count)
      let name = Self.peer(bytes, quick.upstream)
      if census != nil {
        census?.count(quick.kind, worker: quick.pid, upstream: name)
      } else if sieve.admits(quick.kind, name, at: quick.time, isWanted: keepsAll) {
        tell(parser.line(ScannedEntry(quick), bytes.span, path: path, offset: offset))
      }
    case .unusual: takeUnusual(bytes, offset)
    }
  }

  private mutating func takeUnusual(_ bytes: UnsafeBufferPointer<UInt8>, _ offset: UInt64) {
    guard let entry = ScannedEntry(bytes.span) else {
      counts.notParsed += 1
      return
    }
    counts.lines += 1
    end = offset + UInt64(bytes.count)
    let isFailure = entry.kind.isUpstreamFailure
    let name = Self.peer(bytes, isFailure ? entry.context.upstream : nil)
    if census != nil {
      census?.count(entry.kind, worker: entry.header.pid, upstream: name)
    } else if isFailure {
      if sieve.admits(entry.kind, name, at: entry.header.time, isWanted: keepsAll) {
        tell(parser.line(entry, bytes.span, path: path, offset: offset))
      }
    } else if entry.kind.isWantedBesideFailures {
      tell(parser.line(entry, bytes.span, path: path, offset: offset))
    } else {
      counts.passedOver += 1
    }
  }

  /// The bytes of the peer's name; none where it cannot be told.
  private static func peer(
    _ bytes: UnsafeBufferPointer<UInt8>, _ upstream: Range<Int>?
  ) -> UnsafeBufferPointer<UInt8> {
    guard let upstream, let name = UpstreamValue.peerRange(bytes.span, upstream) else {
      return .init(start: nil, count: 0)
    }
    return .init(rebasing: bytes[name])
  }

  /// To be called once, at the end: the failures that were only counted.
  mutating func tellCounts() {
    for count in sieve.counts(LogClock(options.zone), path: path) {
      ready.append(
        Observation(
          host: options.host, time: TimeEstimate(stamped: count.last), fact: .nginxErrorCount(count)
        ))
    }
  }
}
