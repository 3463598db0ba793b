public import Evidence
import Glibc
import LinuxHost

/// A backend's log that was saved as a file: its own, what docker or the kubelet made of it, or
/// `journalctl -o json` (also `short-iso`).
///
/// Lines without a time of their own lie between those around them that have one.
public final class BackendLogFile {
  private let source: BackendLogSource
  private let host: String
  private let failures: [TimeEstimate]
  private let descriptor: Int32
  private let reader: LineReader
  private var cutter = LineCutter()
  private var isAtEnd = false
  private var ready: [Observation] = []
  /// Without a time, since the last line that had one.
  private var undated: [LineReader.Line] = []
  private var lastTime: Timestamp?
  private var contextAt: (second: Int64, count: Int) = (.min, 0)
  private var lines: UInt64 = 0
  private var told: UInt64 = 0
  private var timeless: UInt64 = 0

  private static let mostUndated = 10_000
  private static let mostContext = 20
  private static let reach = TimeSpan.seconds(1)

  /// - Parameters:
  ///   - failures: around these moments other lines are told too, in order.
  ///   - utcOffset: seconds east of UTC of the clock in lines that do not say.
  ///   - reference: a moment soon after the last line, which tells the year that syslog leaves out; nil:
  ///     the file's time of modification.
  /// - Throws: `ProbeError` when the file cannot be opened.
  public init(
    _ source: BackendLogSource, host: String, failures: [TimeEstimate] = [], utcOffset: Int = 0,
    reference: Timestamp? = nil
  ) throws {
    self.source = source
    self.host = host
    self.failures = failures.sorted { $0.earliest < $1.earliest }
    let opened = source.path == "-" ? dup(0) : open(source.path, O_RDONLY | O_CLOEXEC)
    guard opened >= 0 else {
      throw ProbeError(doing: "open \(source.shownPath)", reason: errorText(errno))
    }
    descriptor = opened
    var status = stat()
    let modified =
      fstat(opened, &status) == 0
      ? Timestamp(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: 0) : nil
    reader = LineReader(
      path: source.shownPath, upstream: source.upstream,
      stamps: LineStamp.Context(utcOffset: utcOffset, reference: reference ?? modified))
  }

  deinit { close(descriptor) }

  /// The next observation; nil at the end.
  /// - Throws: `ProbeError` when reading fails; what came before was given.
  public func next() throws -> Observation? {
    while ready.isEmpty, !isAtEnd { try readMore() }
    // Last first, so that the next is taken off the end.
    return ready.popLast()
  }

  public var counters: Counters {
    Counters(
      source: "backend logs", seen: lines, lost: 0,
      details: ["told": told, "without time": timeless])
  }

  /// What the file could not say; nil when it said it all.
  public var blindSpot: BlindSpot? {
    guard timeless > 0 else { return nil }
    return BlindSpot(
      id: "backend-log-time",
      what: "\(timeless) lines of \(source.shownPath) say something of an end, but not when",
      cost: "they cannot be joined to closes",
      remedy: "let the backend write the time (uWSGI: log-date = true), or save its journal: "
        + "journalctl -o json")
  }

  private func readMore() throws {
    var given: [Observation] = []
    try withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 8) { buffer in
      let count = read(descriptor, buffer.baseAddress, buffer.count)
      if count < 0 {
        if errno == EINTR { return }
        isAtEnd = true
        throw ProbeError(
          doing: "read \(source.shownPath) at byte \(cutter.nextOffset)", reason: errorText(errno))
      }
      cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { line, offset in
        take(line, offset, &given)
      }
      if count == 0 {
        cutter.settle { line, offset in take(line, offset, &given) }
        release(until: nil, &given)
        isAtEnd = true
      }
    }
    ready = given.reversed()
  }

  private func take(_ bytes: ArraySlice<UInt8>, _ offset: UInt64, _ given: inout [Observation]) {
    lines += 1
    guard let line = reader.read(bytes, at: offset) else { return }
    guard let stamp = line.stamp else {
      if line.wording != nil || !failures.isEmpty, undated.count < Self.mostUndated {
        undated.append(line)
      }
      return
    }
    release(until: stamp, &given)
    lastTime = stamp.time
    let time =
      stamp.isWholeSecond
      ? TimeEstimate(
        best: stamp.time + .milliseconds(500), earliest: stamp.time,
        latest: stamp.time + .seconds(1)) : TimeEstimate(exactly: stamp.time)
    tell(line, time, &given)
  }

  /// Tells what had no time, now that the next one is known.
  private func release(until stamp: LineStamp?, _ given: inout [Observation]) {
    defer { undated.removeAll() }
    guard let lastTime else {
      timeless += UInt64(undated.count { $0.wording != nil })
      return
    }
    let end = stamp.map { $0.time + ($0.isWholeSecond ? .seconds(1) : .zero) }
    let latest = end ?? lastTime + .seconds(1)
    for line in undated {
      let time = TimeEstimate(best: lastTime, earliest: lastTime, latest: max(latest, lastTime))
      tell(line, time, &given)
    }
  }

  private func tell(
    _ line: LineReader.Line, _ time: TimeEstimate, _ given: inout [Observation]
  ) {
    guard line.wording != nil || isContext(time) else { return }
    told += 1
    given.append(Observation(host: host, time: time, fact: .backendLine(reader.fact(line))))
  }

  /// Whether something failed within a second of it; so many of each second.
  private func isContext(_ time: TimeEstimate) -> Bool {
    guard time.latest - time.earliest <= .seconds(2) else { return false }
    var low = 0
    var high = failures.count
    // The first failure that is not over before the line's second begins.
    while low < high {
      let middle = (low + high) / 2
      if failures[middle].latest + Self.reach < time.earliest {
        low = middle + 1
      } else {
        high = middle
      }
    }
    guard low < failures.count, failures[low].earliest - Self.reach <= time.latest else {
      return false
    }
    let second = time.best.nanoseconds / 1_000_000_000
    if second != contextAt.second { contextAt = (second, 0) }
    contextAt.count += 1
    return contextAt.count <= Self.mostContext
  }
}
