import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

@Suite struct ErrorLogFileTests {
  let directory: TemporaryDirectory
  let options = LogOptions(host: "test", zone: .fixed(secondsEast: 3600))

  init() throws { directory = try TemporaryDirectory() }

  func read(_ log: ErrorLogFile) throws -> [Observation] {
    var all: [Observation] = []
    while let observation = try log.next() { all.append(observation) }
    return all
  }

  func numbered(_ range: Range<Int>) -> String {
    range.map { "2026/11/24 10:01:02 [error] 1#1: line \($0)\n" }.joined()
  }

  func texts(_ observations: [Observation]) -> [String] {
    observations.compactMap { observation in
      if case .nginxLine(let line) = observation.fact { line.text } else { nil }
    }
  }

  @Test func `a whole file, in the zone that was given`() throws {
    try directory.write("error.log", numbered(0..<3) + "2026/11/24 10:01:03 [debug] 1#1: x")
    let log = try ErrorLogFile(directory["error.log"], options: options)
    let all = try read(log)
    #expect(texts(all) == ["line 0", "line 1", "line 2"])
    let stamped = Timestamp(year: 2026, month: 11, day: 24, hour: 9, minute: 1, second: 2)
    #expect(
      all.first?.time
        == TimeEstimate(
          best: stamped + .milliseconds(500), earliest: stamped, latest: stamped + .seconds(3)))
    #expect(log.counters.seen == 4)
    #expect(log.counters.details["below threshold"] == 1)
    #expect(log.counters.details["not parsed"] == 0)
  }

  @Test func `from an offset within a line`() throws {
    try directory.write("error.log", numbered(0..<5))
    let length = numbered(0..<1).utf8.count
    let log = try ErrorLogFile(
      directory["error.log"], options: options, from: UInt64(length * 2 - 3))
    let all = try read(log)
    #expect(texts(all) == ["line 2", "line 3", "line 4"])
    guard case .nginxLine(let line) = all.first?.fact else { throw NotALine() }
    #expect(line.offset == UInt64(length * 2))
  }

  @Test func `a large file, over many chunks`() throws {
    try directory.write("error.log", numbered(0..<100_003))
    let all = texts(try read(try ErrorLogFile(directory["error.log"], options: options)))
    #expect(all == (0..<100_003).map { "line \($0)" })
  }

  @Test func `an empty file has no lines`() throws {
    try directory.write("error.log", "")
    #expect(try read(try ErrorLogFile(directory["error.log"], options: options)).isEmpty)
  }

  @Test func `a binary file is no error log`() throws {
    try directory.write("error.log", bytes: [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 10, 200, 0])
    let log = try ErrorLogFile(directory["error.log"], options: options)
    let error = #expect(throws: ProbeError.self) { try log.next() }
    #expect(
      error?.reason
        == "it is no nginx error log: no entry from byte 0 to 11, it starts with 7f 45 4c 46 02 01 "
        + "01 00")
    #expect(try log.next() == nil)
    try directory.write("error.log.gz", bytes: [0x1f, 0x8b, 8, 0, 0, 0])
    let zipped = try ErrorLogFile(directory["error.log.gz"], options: options)
    let hint = #expect(throws: ProbeError.self) { try zipped.next() }
    #expect(hint?.reason.contains("compressed data") == true)
  }

  @Test func `what was read before garbage is kept`() throws {
    let good = Array(numbered(0..<1009).utf8)
    let bad = [UInt8](repeating: 0, count: 5 << 20)
    try directory.write("error.log", bytes: good + bad)
    let log = try ErrorLogFile(directory["error.log"], options: options)
    var count = 0
    let error = #expect(throws: ProbeError.self) {
      while try log.next() != nil { count += 1 }
    }
    #expect(count == 1009)
    #expect(
      error?.reason.hasPrefix(
        "no entry of an nginx error log from byte \(good.count - 1) to ") == true)
  }

  @Test func `a hole in a log is skipped and counted`() throws {
    let hole = String(repeating: "\0", count: 5000)
    try directory.write("error.log", numbered(0..<3) + hole + "\n" + numbered(3..<6))
    let log = try ErrorLogFile(directory["error.log"], options: options)
    #expect(texts(try read(log)).suffix(3) == ["line 3", "line 4", "line 5"])
  }

  @Test func `what cannot be opened or read says so`() {
    let missing = #expect(throws: ProbeError.self) {
      try ErrorLogFile(directory["none"], options: options)
    }
    #expect(missing?.description == "cannot open \(directory["none"]): No such file or directory")
    let folder = #expect(throws: ProbeError.self) {
      try ErrorLogFile(directory.path, options: options).next()
    }
    #expect(folder?.description == "cannot read \(directory.path) at byte 0: Is a directory")
  }
}
