import ArgumentParser
import CLinux
import Correlator
import Evidence
import Glibc
import LinuxHost
import Report

/// Metrics of a live session for node_exporter's textfile collector: a file instead of a port, since a
/// process that captures packets should not listen.
///
/// The directory belongs to root, and the session gives root up; so a helper that is started before
/// keeps the right to write this one file, and does nothing else.
final class Textfile {
  private static let interval = TimeSpan.seconds(15)

  private var pipe: Int32
  private let helper: ChildProcess
  private let started = currentTime()
  private var lastWritten = Timestamp(nanoseconds: 0)
  private var unwritten: [UInt8] = []

  /// - Throws: `ProbeError` when the file cannot be written, or the helper not be started.
  init(path: String) throws {
    // Whoever gave a wrong path hears of it now.
    try writeAtomically("", to: path)
    var ends: [Int32] = [0, 0]
    guard Glibc.pipe(&ends) == 0 else {
      throw ProbeError(doing: "make a pipe", reason: errorText(errno))
    }
    // The helper gets its own end as stdin, and no other program any.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    do {
      helper = try ChildProcess(
        readLink("/proc/self/exe") ?? "upclose",
        [TextfileHelper.configuration.commandName ?? "textfile-helper", path], input: ends[0])
    } catch {
      close(ends[1])
      throw error
    }
    pipe = ends[1]
    // The session does not wait for a disk.
    _ = fcntl(pipe, F_SETFL, O_NONBLOCK)
  }

  deinit { if pipe >= 0 { close(pipe) } }

  /// Writes when it is time.
  func update(_ now: Timestamp, _ summary: () -> Summary, _ facts: SessionFacts) {
    drain()
    guard now - lastWritten >= Self.interval, unwritten.isEmpty else { return }
    write(now, summary(), facts)
  }

  /// Writes for the last time.
  func finish(_ summary: Summary, _ facts: SessionFacts) {
    _ = fcntl(pipe, F_SETFL, 0)
    drain()
    write(currentTime(), summary, facts)
    close(pipe)
    pipe = -1
    _ = helper.waitForExit()
  }

  private func write(_ now: Timestamp, _ summary: Summary, _ facts: SessionFacts) {
    lastWritten = now
    let version = programVersion.split(separator: " ").last.map(String.init) ?? ""
    let text = SessionMetrics.render(summary, facts, started: started, now: now, version: version)
    unwritten = Array(text.utf8) + [0]
    drain()
  }

  private func drain() {
    while !unwritten.isEmpty {
      let count = unwritten.withUnsafeBytes { Glibc.write(pipe, $0.baseAddress, $0.count) }
      if count > 0 {
        unwritten.removeFirst(count)
      } else if errno != EINTR {
        // Full: later. Gone: the helper has said why.
        if errno != EAGAIN { unwritten = [] }
        return
      }
    }
  }
}

/// Writes each text that comes in, ended by a zero byte, to a file, until there are no more.
struct TextfileHelper: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "textfile-helper", abstract: "Writes metrics for attach.", shouldDisplay: false)

  @Argument var path: String

  func run() throws {
    // It ends with the session, which is told by the end of its pipe, and not before: Ctrl-C reaches
    // both.
    for number in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { signal(number, SIG_IGN) }
    var waiting: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    var said: String?
    while true {
      let count = read(STDIN_FILENO, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      waiting += buffer[..<count]
      while let end = waiting.firstIndex(of: 0) {
        let text = String(decoding: waiting[..<end], as: UTF8.self)
        waiting.removeSubrange(...end)
        do {
          try writeAtomically(text, to: path)
          said = nil
        } catch {
          // A full disk is said once, and not every quarter of a minute.
          if said != "\(error)" { complain("upclose: \(error)") }
          said = "\(error)"
        }
      }
    }
  }
}
