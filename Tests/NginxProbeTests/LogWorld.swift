import Evidence
import Glibc
import LinuxHost
import Synchronization
import Testing

@testable import NginxProbe

/// A directory of its own, removed at the end.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/upclose-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ProbeError(doing: "mkdtemp", reason: "") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    for name in directoryEntries(path) {
      let child = "\(path)/\(name)"
      if unlink(child) != 0 { remove(child) }
    }
    rmdir(path)
  }

  subscript(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ name: String, _ text: String) throws {
    try write(name, bytes: Array(text.utf8))
  }

  func write(_ name: String, bytes: [UInt8]) throws {
    let descriptor = open(self[name], O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    try #require(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
  }
}

/// Takes what a probe says.
final class Collector: Sendable {
  private let kept = Mutex<[Observation]>([])

  var sink: ObservationSink {
    { observation in self.kept.withLock { $0.append(observation) } }
  }

  var all: [Observation] { kept.withLock { $0 } }

  var lines: [(line: NginxLine, time: TimeEstimate)] {
    all.compactMap { observation in
      if case .nginxLine(let line) = observation.fact { (line, observation.time) } else { nil }
    }
  }

  /// The texts of the lines, as they came.
  var texts: [String] { lines.map(\.line.text) }

  var counters: Counters? {
    all.reversed().lazy.compactMap { observation in
      if case .counters(let counters) = observation.fact { counters } else { nil }
    }.first
  }
}

/// Waits for what must come; the time-out only ends a test that fails.
func eventually(
  _ what: String, within seconds: Int = 30, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () -> Bool
) {
  let end = currentTime() + .seconds(Int64(seconds))
  while !condition() {
    if currentTime() > end {
      Issue.record("never: \(what)", sourceLocation: sourceLocation)
      return
    }
    usleep(2000)
  }
}

/// An entry stamped now, in UTC.
func entryNow(_ text: String, worker: Int = 1) -> String {
  let now = currentTime().iso8601(digits: 0)
  let date = now.prefix(10).replacing("-", with: "/")
  return "\(date) \(now.dropFirst(11).prefix(8)) [error] \(worker)#\(worker): \(text)\n"
}

/// Writes entries as an nginx worker does: appending, one `write` each, and to a reopened file once
/// it has seen the order to reopen.
final class LogWriter: Sendable {
  private let thread: ProbeThread
  private let order: SharedCounter
  private let written: SharedCounter
  let texts: [String]

  init(_ path: String, worker: Int, count: Int, pause: UInt32 = 300) throws {
    let order = SharedCounter()
    let written = SharedCounter()
    self.order = order
    self.written = written
    texts = (0..<count).map { "worker \(worker) line \($0)" }
    let texts = texts
    thread = try ProbeThread.start("writer") { _ in
      var descriptor: Int32 = -1
      var seen = -1
      for (index, text) in texts.enumerated() {
        let wanted = order.value
        // A busy worker sees the order some lines later.
        if wanted != seen, index % 5 == 0 {
          if descriptor >= 0 { close(descriptor) }
          descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
          seen = wanted
        }
        let bytes = Array(entryNow(text, worker: worker).utf8)
        _ = Glibc.write(descriptor, bytes, bytes.count)
        written.add(1)
        usleep(pause)
      }
      close(descriptor)
    }
  }

  /// What `USR1` does.
  func reopen() { order.add(1) }

  var count: Int { written.value }

  func wait() {
    eventually("all lines written") { count == texts.count }
    thread.stop()
  }
}

final class SharedCounter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .acquiring) }
  func add(_ more: Int) { count.add(more, ordering: .acquiringAndReleasing) }
}

func append(_ path: String, _ text: String) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
  let bytes = Array(text.utf8)
  _ = Glibc.write(descriptor, bytes, bytes.count)
  close(descriptor)
}
