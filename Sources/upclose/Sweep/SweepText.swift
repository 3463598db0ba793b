import Evidence
import PortProbe
import Report
import Sweep

/// The words and numbers of a sweep's report.
struct SweepText {
  private let style: TextStyle

  init(_ style: TextStyle) { self.style = style }

  func check(_ result: ConnectEngine.Result, _ target: SweepTarget, isGood: Bool) -> String {
    let check = result.check
    var parts = [Self.pad(target.label, 24), outcome(check.outcome, isGood: isGood)]
    if let time = check.connectTime { parts.append("\(time)") }
    if let reason = check.reason { parts.append(reason) }
    switch result.conversation {
    case let tls as TLSConversation:
      if let reply = tls.reply { parts.append("\(reply)") }
    case let http as HTTPConversation:
      if let status = http.status { parts.append("status \(status)") }
      if let time = http.timeToFirstByte { parts.append("first byte after \(time)") }
    default: break
    }
    return parts.joined(separator: "  ")
  }

  func change(_ change: TargetHistory.Change, _ target: SweepTarget, at time: Timestamp) -> String {
    func stamp(_ time: Timestamp) -> String { time.iso8601(offset: style.utcOffset) }
    switch change {
    case .first(.up): return "\(stamp(time))  UP    \(target.label)"
    case .first(.down): return "\(stamp(time))  \(red("DOWN"))  \(target.label)  at the first check"
    case .down(let outage):
      return "\(stamp(outage.start))  \(red("DOWN"))  \(target.label)  \(Self.why(outage))"
    case .up(let outage):
      let end = outage.end ?? time
      return "\(stamp(end))  \(green("UP"))    \(target.label)  after \(outage.duration(at: end))"
    }
  }

  private static func why(_ outage: TargetHistory.Outage) -> String {
    // "refused: connection refused" says it twice.
    guard let reason = outage.reason, !reason.contains("\(outage.outcome)") else {
      return outage.reason ?? "\(outage.outcome)"
    }
    return "\(outage.outcome): \(reason)"
  }

  func keepalive(_ line: SweepPrinter.KeepaliveLine) -> String {
    let finding = line.finding
    var parts: [String] = []
    if let requests = finding.requests {
      parts.append("closes after \(requests) requests (N)")
    } else if finding.answered > 0 {
      parts.append("closes after no \(finding.answered) requests (N is more, or none)")
    }
    if let idle = finding.idleTimeout {
      let manner = finding.endedWith == .reset ? "resets" : "closes"
      parts.append("\(manner) when idle for \(Self.precise(idle)) (T)")
    } else if finding.idle > .zero {
      parts.append("still open when idle for \(finding.idle) (T is more, or none)")
    }
    parts += finding.notes
    var text = "\(Self.pad(line.target.label, 24))  " + parts.joined(separator: "; ")
    if let advice = Self.advice(line) { text += "\n" + advice }
    return text
  }

  /// What nginx must do to be the one who closes.
  private static func advice(_ line: SweepPrinter.KeepaliveLine) -> String? {
    var texts: [String] = []
    let group = line.upstream?.group
    // Without keepalive nginx keeps no connection: there is no race.
    if let group, group.keepalive == nil { return nil }
    if let idle = line.finding.idleTimeout, line.finding.answered > 0 {
      let below = max(1, Int64((idle.seconds * 0.8).rounded(.down)))
      if let own = group?.keepaliveTimeout, own < idle {
        texts.append("nginx closes first, after \(own): good")
      } else {
        let own = group?.keepaliveTimeout.map { "nginx keeps them \($0): " } ?? ""
        texts.append("\(own)set keepalive_timeout \(below)s; in the upstream block")
      }
    }
    if let requests = line.finding.requests, requests > 1 {
      if let own = group?.keepaliveRequests, own < requests {
        texts.append("nginx's keepalive_requests \(own) is below N: good")
      } else {
        texts.append("set keepalive_requests \(requests - 1); there")
      }
    }
    return texts.isEmpty ? nil : "    " + texts.joined(separator: "; ")
  }

  /// To the hundredth of a second below a minute, and of the millisecond below a second.
  private static func precise(_ span: TimeSpan) -> String {
    guard span >= .seconds(60) else { return "\(span)" }
    return "\(span.nanoseconds / 1_000_000_000) s"
  }

  /// A line a target at the end of a periodic sweep, and one an outage.
  func histories(_ book: TargetBook) -> [String] {
    var lines: [String] = []
    for index in book.indices {
      guard let history = book.history(index), history.checks > 0 else { continue }
      // Of a large fleet only those that something happened to.
      if book.count > 100, history.flaps == 0, history.outages == 0 { continue }
      lines.append(self.history(book[index], history))
      for outage in history.recentOutages {
        let start = outage.start.iso8601(offset: style.utcOffset)
        let end = outage.end?.iso8601(offset: style.utcOffset) ?? "now"
        let length = outage.duration(at: history.lastTime ?? outage.start)
        lines.append("    down from \(start) to \(end) (\(length)): \(Self.why(outage))")
      }
    }
    return lines
  }

  func history(_ target: SweepTarget, _ history: TargetHistory) -> String {
    var parts = [
      Self.pad(target.label, 24),
      history.isDown ? red("DOWN") : green("UP") + "  ",
      "\(history.goodChecks)/\(history.checks) good",
    ]
    if let times = history.connectTimes, let p50 = times.percentile(50),
      let p99 = times.percentile(99), let longest = times.longest
    {
      parts.append("p50 \(p50), p99 \(p99), longest \(longest)")
    }
    parts.append("\(Self.count(history.flaps, "flap")), \(Self.count(history.outages, "outage"))")
    return parts.joined(separator: "  ")
  }

  static func count(_ number: some BinaryInteger, _ what: String) -> String {
    "\(number) \(what)\(number == 1 ? "" : "s")"
  }

  func outcome(_ outcome: PortCheck.Outcome, isGood: Bool) -> String {
    let text = Self.pad("\(outcome)", 11)
    return isGood ? green(text) : red(text)
  }

  func red(_ text: String) -> String { colored("31", text) }
  func green(_ text: String) -> String { colored("32", text) }

  private func colored(_ code: String, _ text: String) -> String {
    style.isColored ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}
