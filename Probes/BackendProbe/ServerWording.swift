import Evidence
import LinuxHost

extension Wording {
  /// Apache httpd (server/mpm_unix.c, server/mpm/*), 2.2 and 2.4. With its stamp 2.4 writes `AH` and
  /// the message's number before the text, 2.2 the text alone.
  static let apache: [Rule] = [
    // AH00051 and AH00052; a child that got SIGTERM, SIGHUP or SIGKILL is passed over in silence.
    Rule("child pid ") { line in
      guard let rest = line.after("child pid "), let pid = rest.leadingPID,
        let reason = rest.after("exit signal ")
      else { return nil }
      return Wording(
        .apache, .workerKilled, pid: pid, signal: reason.before(")")?.int32(after: "("))
    },
    // AH00045 to AH00047: it did not end when it was asked to.
    Rule(" still did not exit, ") { line in
      guard let pid = line.pid(after: "child process ") else { return nil }
      let signal: Int32? =
        line.contains(text: "a SIGTERM") ? 15 : line.contains(text: "a SIGKILL") ? 9 : nil
      return Wording(.apache, .stopping, pid: pid, signal: signal)
    },
    // AH00161 (prefork) and AH00484 (worker, event).
    Rule("server reached MaxRequestWorkers setting") { _ in Wording(.apache, .saturated) },
    Rule("server reached MaxClients setting") { _ in Wording(.apache, .saturated) },
    // AH00485, AH03490: workers that finish hold every slot.
    Rule("scoreboard is full, not at MaxRequestWorkers") { _ in Wording(.apache, .saturated) },
    Rule("caught SIGTERM, shutting down") { _ in Wording(.apache, .stopping, signal: 15) },
    Rule("caught SIGWINCH, shutting down gracefully") { _ in
      Wording(.apache, .stopping, signal: 28)
    },
    Rule("received.  Doing graceful restart") { _ in Wording(.apache, .stopping, signal: 10) },
    Rule("received.  Attempting to restart") { _ in Wording(.apache, .stopping, signal: 1) },
    Rule("resuming normal operations") { _ in Wording(.apache, .started) },
  ]

  /// HAProxy (doc/configuration.txt, "Session state at disconnection"): an HTTP or TCP log line has
  /// `… status bytes reqcookie respcookie TTTT conns queues`, with four letters of termination state
  /// (two in TCP mode). `--` is an ordinary end.
  static let haproxy: [Rule] = [
    Rule("/") { line in
      // `client:port [24/Nov/2026:13:48:13.123] frontend backend/server timers status …`
      guard let bracket = line.position(of: " ["), let rest = line.after("] ") else { return nil }
      let words = rest.split(separator: " ", maxSplits: 10, omittingEmptySubsequences: false)
      guard words.count >= 6, words[1].contains("/"), words[2].contains("/") else { return nil }
      // HTTP: status, bytes, two cookies, state. TCP: bytes, state.
      let state = words.count >= 8 && isState(words[7], 4) ? words[7] : words[4]
      guard isState(state, 4) || isState(state, 2), let cause = state.utf8.first,
        let phase = state.utf8.dropFirst().first, cause != UInt8(ascii: "-")
      else { return nil }
      // C and c: the client of HAProxy, which is nginx, was the one to end it.
      let client = line[..<bracket].split(separator: " ").last
      let kind: BackendLine.Kind =
        phase == UInt8(ascii: "Q") ? .saturated : .sessionAborted
      return Wording(.haproxy, kind, peer: client.flatMap { Endpoint(haproxy: $0) })
    },
    Rule("proxy ") { line in
      guard line.contains(text: "has no server available!") else { return nil }
      return Wording(.haproxy, .saturated)
    },
    Rule("is DOWN") { line in
      guard line.contains(text: "Server ") else { return nil }
      return Wording(.haproxy, .stopping)
    },
  ]

  private static func isState(_ word: Substring, _ count: Int) -> Bool {
    guard word.utf8.count == count else { return false }
    // The causes, then where it stood (doc/configuration.txt 8.5); then cookies.
    let causes = "-CSPLRIDUKcs".utf8
    let phases = "-RQCHDLT".utf8
    let bytes = Array(word.utf8)
    return causes.contains(bytes[0]) && phases.contains(bytes[1])
      && bytes.dropFirst(2).allSatisfy { $0 == UInt8(ascii: "-") || (65...90).contains($0) }
  }

  /// systemd (src/core/service.c, job.c, unit.c), by way of the journal or of syslog.
  static let systemd: [Rule] = [
    Rule("ain process exited, code=") { line in
      guard let rest = line.after("ain process exited, code=") else { return nil }
      let status = rest.int32(after: "status=")
      // `exited`, `killed` or `dumped`; the number is a code for the first.
      return rest.begins(with: "exited")
        ? Wording(.systemd, .workerExited, code: status, unit: unit(line))
        : Wording(.systemd, .workerKilled, signal: status, unit: unit(line))
    },
    Rule("A process of this unit has been killed by the OOM killer") {
      Wording(.systemd, .outOfMemory, signal: 9, unit: unit($0))
    },
    Rule("Failed with result 'oom-kill'") {
      Wording(.systemd, .outOfMemory, signal: 9, unit: unit($0))
    },
    Rule("Watchdog timeout (limit ") {
      Wording(.systemd, .workerTimeout, limit: $0.number(after: "(limit "), unit: unit($0))
    },
    Rule("timed out. Killing") { line in
      guard line.contains(text: "State '") else { return nil }
      return Wording(.systemd, .stopping, signal: 9, unit: unit(line))
    },
    Rule(": Killing process ") { line in
      Wording(
        .systemd, .stopping, pid: line.pid(after: "Killing process "),
        signal: line.after(" with signal ").flatMap { signalNumber($0.prefix(while: \.isLetter)) },
        unit: unit(line))
    },
    Rule("Scheduled restart job, restart counter is at ") {
      Wording(.systemd, .started, unit: unit($0))
    },
    Rule("systemd[") { line in
      guard let text = line.after("]: ") else { return nil }
      let kind: BackendLine.Kind? =
        text.begins(with: "Stopping ") || text.begins(with: "Reloading ")
        ? .stopping : text.begins(with: "Started ") ? .started : nil
      // Since 250 the unit's name stands before its description.
      let named = text.after(" ")?.before(" - ").map(String.init)
      return kind.map {
        Wording(.systemd, $0, unit: named.flatMap { $0.contains(" ") ? nil : $0 })
      }
    },
  ]

  /// `app.service: Main process exited, …`, with or without `systemd[1]: ` before it.
  private static func unit(_ line: Substring) -> String? {
    let text = line.after("]: ") ?? line
    guard let name = text.before(": "), name.contains("."), !name.contains(" ") else { return nil }
    return String(name)
  }
}

extension Endpoint {
  /// `192.0.2.1:4711` or `2001:db8::1:4711`, as HAProxy writes them; a mapped IPv4 address is one.
  fileprivate init?(haproxy text: Substring) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]),
      let address = IPAddress(parsing: text[..<colon])
    else { return nil }
    self.init(address: address, port: port)
  }
}
