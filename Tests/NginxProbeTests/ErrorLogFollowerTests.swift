import CLinux
import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

@Suite struct ErrorLogFollowerTests {
  let directory: TemporaryDirectory
  let log: String
  let options = LogOptions(host: "test", zone: .fixed(secondsEast: 0))

  init() throws {
    directory = try TemporaryDirectory()
    log = directory["error.log"]
  }

  func follow(_ paths: [String]? = nil) throws -> (ErrorLogFollower, Collector) {
    let follower = ErrorLogFollower(paths ?? [log], options: options)
    let collector = Collector()
    try follower.open()
    try follower.start(collector.sink)
    return (follower, collector)
  }

  /// Three writers and `rotate` three times among their lines; then every line must have come once,
  /// and each writer's in order.
  func survive(_ rotate: (Int, [LogWriter]) throws -> Void) throws {
    append(log, entryNow("before it started"))
    let (follower, collector) = try follow()
    defer { follower.stop() }
    let writers = try (1...3).map { try LogWriter(log, worker: $0, count: 307) }
    for round in 1...3 {
      eventually("lines before rotation \(round)") {
        writers.allSatisfy { $0.count >= 70 * round }
      }
      try rotate(round, writers)
    }
    for writer in writers { writer.wait() }
    eventually("every line") { collector.texts.count >= 3 * 307 }
    follower.stop()
    let texts = collector.texts
    #expect(texts.count == 3 * 307)
    for (index, writer) in writers.enumerated() {
      let own = collector.lines.filter { $0.line.worker == Int32(index + 1) }.map(\.line.text)
      // The order of one worker's lines in two files is that of the files.
      #expect(own == writer.texts)
    }
    #expect(collector.counters?.seen == 3 * 307)
    #expect(collector.counters?.details["not parsed"] == 0)
  }

  @Test func `rename and create, the old one still written to`() throws {
    try survive { round, writers in
      rename(log, directory["error.log.\(round)"])
      append(log, "")
      usleep(20_000)
      for writer in writers { writer.reopen() }
    }
  }

  @Test func `rename alone, created by the next writer`() throws {
    try survive { round, writers in
      rename(log, directory["error.log.\(round)"])
      for writer in writers { writer.reopen() }
    }
  }

  @Test func `deleted and created again`() throws {
    try survive { _, writers in
      unlink(log)
      for writer in writers { writer.reopen() }
    }
  }

  @Test func `a symbolic link to another file`() throws {
    append(directory["day0.log"], "")
    symlink("day0.log", log)
    try survive { round, writers in
      let next = directory["link"]
      append(directory["day\(round).log"], "")
      symlink("day\(round).log", next)
      rename(next, log)
      for writer in writers { writer.reopen() }
    }
  }

  @Test func `copytruncate, and more written at once than was cut`() throws {
    let (follower, collector) = try follow()
    defer { follower.stop() }
    var expected: [String] = []
    append(log, "")
    for round in 0..<5 {
      let texts = (0...round * 7).map { "round \(round) line \($0)" }
      // One write, so that it may grow past the old offset before the follower looks.
      append(log, texts.map { entryNow($0) }.joined())
      expected += texts
      eventually("round \(round)") { collector.texts.count == expected.count }
      truncate(log, 0)
    }
    follower.stop()
    #expect(collector.texts == expected)
  }

  @Test func `a log that appears later, in a directory that appears later`() throws {
    let later = directory["logs/error.log"]
    let (follower, collector) = try follow([later])
    defer { follower.stop() }
    mkdir(directory["logs"], 0o755)
    append(later, entryNow("first"))
    eventually("first") { collector.texts == ["first"] }
    append(later, entryNow("second"))
    eventually("second") { collector.texts == ["first", "second"] }
  }

  @Test func `what was there before is left out, and a line waits for its end`() throws {
    append(log, entryNow("old"))
    let (follower, collector) = try follow()
    defer { follower.stop() }
    let whole = entryNow("halves of a line")
    append(log, String(whole.prefix(40)))
    usleep(50_000)
    #expect(collector.texts.isEmpty)
    append(log, String(whole.dropFirst(40)) + entryNow("next"))
    eventually("both") { collector.texts == ["halves of a line", "next"] }
    #expect(collector.lines.first?.line.offset == UInt64(entryNow("old").utf8.count))
    #expect(collector.lines.first?.line.path == log)
  }

  @Test func `a line in two logs comes once, and two equal lines come twice`() throws {
    let other = directory["info.log"]
    append(log, "")
    append(other, "")
    let (follower, collector) = try follow([log, other])
    defer { follower.stop() }
    let (a, b) = (entryNow("a"), entryNow("b"))
    append(log, a)
    append(other, a)
    append(other, b + b)
    append(log, b + b)
    append(other, entryNow("info only"))
    eventually("all") { collector.texts.count >= 4 }
    follower.stop()
    #expect(collector.texts.sorted() == ["a", "b", "b", "info only"])
    #expect(collector.counters?.details["in two logs"] == 3)
  }

  @Test func `a log added while it follows`() throws {
    append(log, "")
    let (follower, collector) = try follow()
    defer { follower.stop() }
    let other = directory["second.log"]
    append(other, entryNow("old"))
    follower.follow([other])
    eventually("the second log") {
      append(other, entryNow("new"))
      return !collector.texts.isEmpty
    }
    #expect(!collector.texts.contains("old"))
  }

  @Test func `a live line's time is its arrival`() throws {
    append(log, "")
    let (follower, collector) = try follow()
    defer { follower.stop() }
    let before = currentTime()
    append(log, entryNow("now"))
    eventually("now") { collector.lines.count == 1 }
    let after = currentTime()
    let time = try #require(collector.lines.first?.time)
    let line = try #require(collector.lines.first?.line)
    #expect(time.best == time.latest)
    #expect((before...after).contains(time.best))
    #expect(time.earliest >= line.stamped)
    #expect(time.latest - time.earliest <= LogReader.wakeLatency)
  }

  @Test func `neither a pipe nor what is not there`() throws {
    mkfifo(log, 0o600)
    let pipe = ErrorLogFollower([log], options: options)
    let error = #expect(throws: ProbeError.self) { try pipe.open() }
    #expect(error?.reason == "it is not a file")
    let missing = ErrorLogFollower([directory["none.log"]], options: options)
    #expect(throws: Never.self) { try missing.open() }
    missing.stop()
    missing.stop()
  }

  @Test func `a log that cannot be read any more is said, once`() throws {
    append(log, "")
    let (follower, collector) = try follow()
    defer { follower.stop() }
    unlink(log)
    mkdir(log, 0o755)
    func spots() -> [BlindSpot] {
      collector.all.compactMap { observation in
        if case .blindSpot(let spot) = observation.fact { spot } else { nil }
      }
    }
    eventually("a blind spot") { !spots().isEmpty }
    rmdir(log)
    append(log, entryNow("back"))
    eventually("back") { collector.texts == ["back"] }
    #expect(spots().map(\.id) == ["error-log"])
    #expect(spots().first?.what == "cannot follow \(log): it is not a file")
  }

  /// With the one capability that is left after privileges were dropped.
  @Test(.enabled(if: getuid() == 0)) func `rotation with CAP_DAC_READ_SEARCH alone`() throws {
    let logs = directory["logs"]
    let hidden = "\(logs)/error.log"
    mkdir(logs, 0o700)
    chown(logs, 33, 33)
    func create() {
      append(hidden, "")
      chmod(hidden, 0o600)
      chown(hidden, 33, 33)
    }
    create()
    let follower = ErrorLogFollower([hidden], options: options)
    let collector = Collector()
    try follower.open()
    let starter = try ProbeThread.start("starter") { _ in
      var header = __user_cap_header_struct(
        version: UInt32(_LINUX_CAPABILITY_VERSION_3), pid: 0)
      let one = UInt32(1) << UInt32(CAP_DAC_READ_SEARCH)
      let sets = [
        __user_cap_data_struct(effective: one, permitted: one, inheritable: 0),
        __user_cap_data_struct(effective: 0, permitted: 0, inheritable: 0),
      ]
      guard clinux_capset_self(&header, sets) == 0 else { return }
      try? follower.start(collector.sink)
    }
    starter.stop()
    defer { follower.stop() }
    append(hidden, entryNow("one"))
    eventually("one") { collector.texts == ["one"] }
    rename(hidden, hidden + ".1")
    create()
    append(hidden, entryNow("two"))
    eventually("two") { collector.texts == ["one", "two"] }
  }
}

/// Without files: from a line and two clocks.
@Suite struct LiveTimeTests {
  let arrival = Timestamp(
    year: 2026, month: 11, day: 24, hour: 10, minute: 1, second: 2, nanoseconds: 700_000_000)

  func line(_ stamped: Timestamp) -> NginxLine {
    NginxLine(message: .other, text: "", level: "error", stamped: stamped, worker: 1)
  }

  @Test func `not before the last look, the stamp, and the wake`() {
    var fresh = line(arrival - .milliseconds(700))
    let latency = LogReader.wakeLatency
    #expect(
      LogReader.estimate(&fresh, arrival: arrival, lastEmpty: arrival - .seconds(9))
        == TimeEstimate(best: arrival, earliest: arrival - latency, latest: arrival))
    #expect(
      LogReader.estimate(&fresh, arrival: arrival, lastEmpty: arrival - .milliseconds(3))
        == TimeEstimate(best: arrival, earliest: arrival - .milliseconds(3), latest: arrival))
    var late = line(arrival - .milliseconds(20))
    #expect(
      LogReader.estimate(&late, arrival: arrival, lastEmpty: arrival - .seconds(9))
        == TimeEstimate(best: arrival, earliest: arrival - .milliseconds(20), latest: arrival))
  }

  @Test func `a backlog has its stamp alone`() {
    var old = line(arrival - .seconds(60))
    #expect(
      LogReader.estimate(&old, arrival: arrival, lastEmpty: nil)
        == TimeEstimate(
          best: old.stamped + .milliseconds(500), earliest: old.stamped,
          latest: old.stamped + .seconds(3)))
    var recent = line(arrival - .milliseconds(700))
    #expect(
      LogReader.estimate(&recent, arrival: arrival, lastEmpty: nil).latest == arrival)
  }

  @Test(arguments: [3600, -3600, 19_800, -12_600, 45 * 60])
  func `an nginx in another zone`(east: Int64) {
    var foreign = line(arrival - .milliseconds(700) + .seconds(east))
    _ = LogReader.estimate(&foreign, arrival: arrival, lastEmpty: arrival - .seconds(1))
    #expect(foreign.stamped == arrival - .milliseconds(700))
  }

  @Test func `a busy worker is not another zone`() {
    for late in [0, 1, 3, 30, 300] as [Int64] {
      var lagging = line(arrival - .seconds(late))
      _ = LogReader.estimate(&lagging, arrival: arrival, lastEmpty: arrival - .seconds(1))
      #expect(lagging.stamped == arrival - .seconds(late))
    }
  }
}
