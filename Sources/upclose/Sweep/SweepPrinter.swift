import Evidence
import Glibc
import LinuxHost
import PortProbe
import Report
import Sweep

/// Prints a sweep: a line a check (one round), a line a change (many), a live table (on a terminal),
/// an object a check (ndjson), or one document at the end (json).
final class SweepPrinter {
  enum Form { case lines, changes, table, ndjson, json }

  let form: Form
  let style: TextStyle
  private let output: Output
  private let isVerbose: Bool
  private let isQuiet: Bool
  private var table: SweepTable?
  private var outcomes: [PortCheck.Outcome: Int] = [:]
  private var bad = 0
  private var keepalives: [KeepaliveLine] = []
  /// Above this only what is not open gets a line.
  private static let mostOpenLines = 100
  private var showsOpen = true
  /// Buffered, since a sweep may have 100,000 checks.
  private var bytes: [UInt8] = []
  private var lastFlush: Int64 = 0
  private var checkLine: CheckLine
  private let asking: AskingOptions

  struct KeepaliveLine {
    var target: SweepTarget
    var finding: KeepaliveConversation.Finding
    var upstream: UpstreamOfNginx?
  }

  /// - Throws: `ProbeError` when the report's file cannot be written.
  init(_ command: SweepCommand) throws {
    output = try Output(path: command.output.output)
    isVerbose = command.output.verbose
    isQuiet = command.output.quiet
    asking = command.asking
    style = TextStyle(
      isColored: command.output.color.isColored(output.descriptor), width: output.columns,
      utcOffset: utcOffset(at: currentTime()))
    checkLine = CheckLine(utcOffset: style.utcOffset)
    form =
      switch command.output.format {
      case .ndjson: .ndjson
      case .json: .json
      case .text where !command.repeating.isPeriodic: .lines
      case .text where output.isTerminal: .table
      case .text: .changes
      }
    if form == .table { table = SweepTable(output, style) }
  }

  /// Why nothing more can be written.
  var failure: String? { output.failure }

  func begin(_ runner: SweepRunner) {
    showsOpen = isVerbose || runner.book.count <= Self.mostOpenLines
  }

  func check(
    _ result: ConnectEngine.Result, _ target: SweepTarget, at time: Timestamp, isGood: Bool,
    _ change: TargetHistory.Change?
  ) {
    outcomes[result.check.outcome, default: 0] += 1
    if !isGood { bad += 1 }
    switch form {
    case .ndjson:
      checkLine.append(
        result.check, at: time, extras: SweepText.extras(result, target), to: &bytes)
      if bytes.count > 32 << 10 { flush() }
    case .lines:
      guard showsOpen || !isGood || result.conversation != nil else { return }
      line(SweepText(style).check(result, target, isGood: isGood))
    case .changes, .table:
      guard let change else { return }
      announce(change, target, at: time)
    case .json: break
    }
  }

  private func announce(
    _ change: TargetHistory.Change, _ target: SweepTarget, at time: Timestamp
  ) {
    // The first state of an open port is no news; the table shows it anyhow.
    if case .first(.up) = change, !isVerbose { return }
    news(SweepText(style).change(change, target, at: time))
  }

  /// Something happened that is no check: a name has other addresses.
  func event(_ text: String) {
    let stamped = "\(currentTime().iso8601(offset: style.utcOffset))  \(text)"
    switch form {
    case .lines, .changes, .table: news(stamped)
    case .ndjson, .json: complain(stamped)
    }
  }

  private func news(_ text: String) {
    table?.clear()
    line(text)
    flush()
  }

  func keepalive(
    _ check: PortCheck, _ target: SweepTarget, at time: Timestamp,
    _ finding: KeepaliveConversation.Finding?, _ upstream: UpstreamOfNginx?
  ) {
    guard let finding else { return }
    let entry = KeepaliveLine(target: target, finding: finding, upstream: upstream)
    keepalives.append(entry)
    switch form {
    case .ndjson:
      checkLine.append(
        check, at: time, extras: [("keepalive", SweepText.json(finding).compact)], to: &bytes)
      flush()
    case .lines, .changes, .table: news(SweepText(style).keepalive(entry))
    case .json: break
    }
  }

  func roundEnded(_ runner: SweepRunner) {
    if form == .changes, runner.roundsDone == 1 { line(summary(runner)) }
    flush()
    table?.draw(runner)
  }

  func finish(_ runner: SweepRunner) {
    switch form {
    case .lines: if !isQuiet { line(summary(runner)) }
    case .changes, .table:
      table?.clear()
      for text in SweepText(style).histories(runner.book) { line(text) }
      if runner.roundsMissed > 0 {
        line(
          "\(runner.roundsMissed) rounds were left out: a round took longer than --every "
            + "(the last one \(runner.lastRound))")
      }
    case .json: line(SweepText.document(runner, keepalives, utcOffset: style.utcOffset).pretty)
    case .ndjson: if !isQuiet { complain(summary(runner)) }
    }
    flush()
    output.flush()
  }

  private func summary(_ runner: SweepRunner) -> String {
    var parts = PortCheck.Outcome.allCases.compactMap { outcome in
      outcomes[outcome].map { "\($0) \(outcome)" }
    }
    if asking.http != nil {
      let unanswered = bad - outcomes.reduce(0) { $1.key == .open ? $0 : $0 + $1.value }
      if unanswered > 0 { parts.append("\(unanswered) open without a good answer") }
    }
    let total = outcomes.values.reduce(0, +)
    return SweepText.count(total, runner.roundsDone > 1 ? "check" : "target") + ": "
      + parts.joined(separator: ", ")
      + (runner.roundsDone == 1 ? " in \(runner.lastRound)" : "")
  }

  private func line(_ text: String) {
    bytes += text.utf8
    bytes.append(10)
    if bytes.count > 32 << 10 { flush() }
  }

  /// Who reads along need not wait for the end of a round.
  func flushWhatWaits() {
    let now = monotonicNow()
    guard !bytes.isEmpty, now - lastFlush > 50_000_000 else { return }
    flush()
  }

  private func flush() {
    lastFlush = monotonicNow()
    output.write(bytes)
    bytes.removeAll(keepingCapacity: true)
    output.flush()
  }
}
