import Evidence
import LinuxHost

extension Wording {
  /// gunicorn (gunicorn/arbiter.py, gunicorn/workers/base.py and its kin), 19 to 23.
  static let gunicorn: [Rule] = [
    // `self.log.critical("WORKER TIMEOUT (pid:%s)", pid)`: SIGABRT, and SIGKILL a second later.
    Rule("WORKER TIMEOUT (pid:") {
      Wording(.gunicorn, .workerTimeout, pid: $0.pid(after: "WORKER TIMEOUT (pid:"))
    },
    Rule("Autorestarting worker after current request") {
      Wording(.gunicorn, .workerRecycle, pid: gunicornWriter($0))
    },
    // Since 20.1: `Worker (pid:%s) was sent SIGKILL! Perhaps out of memory?`; before, `Worker with
    // pid %s was terminated due to signal %s`.
    Rule("Worker (pid:") { line in
      guard let rest = line.after("Worker (pid:"), let pid = rest.leadingPID else { return nil }
      if let name = rest.after(") was sent ") {
        let signal = name.prefix { $0.isLetter || $0.isNumber }
        return Wording(.gunicorn, .workerKilled, pid: pid, signal: signalNumber(signal))
      }
      if let code = rest.int32(after: ") exited with code ") {
        return Wording(.gunicorn, .workerExited, pid: pid, code: code)
      }
      return nil
    },
    Rule("was terminated due to signal ") { line in
      guard let pid = line.pid(after: "Worker with pid ") else { return nil }
      return Wording(
        .gunicorn, .workerKilled, pid: pid, signal: line.int32(after: "due to signal "))
    },
    Rule("Worker exiting (pid: ") {
      Wording(.gunicorn, .workerExited, pid: $0.pid(after: "Worker exiting (pid: "))
    },
    Rule("Worker failed to boot") { Wording(.gunicorn, .workerExited, pid: gunicornWriter($0)) },
    Rule("Booting worker with pid: ") {
      Wording(.gunicorn, .workerStarted, pid: $0.pid(after: "Booting worker with pid: "))
    },
    Rule("Handling signal: ") { line in
      guard let name = line.after("Handling signal: ")?.prefix(while: \.isLetter) else {
        return nil
      }
      // HUP starts new workers and ends the old ones; TTIN and WINCH change their number.
      switch name {
      case "term", "int", "quit", "hup":
        return Wording(.gunicorn, .stopping, signal: signalNumber(Substring(name.uppercased())))
      default: return nil
      }
    },
    Rule("Starting gunicorn ") { Wording(.gunicorn, .started, pid: gunicornWriter($0)) },
    Rule("Error handling request") {
      Wording(.gunicorn, .exception, pid: gunicornWriter($0))
    },
  ]

  /// `[2026-11-24 07:41:16 +0000] [3080] [INFO] …`: the second bracket is the writer's pid.
  private static func gunicornWriter(_ line: Substring) -> Int32? {
    line.after("] [")?.leadingPID
  }

  /// uWSGI (core/master_utils.c, core/master_checks.c, core/uwsgi.c, proto/uwsgi.c), 1.9 to 2.0.
  static let uwsgi: [Rule] = [
    Rule("HARAKIRI ON WORKER ") { line in
      Wording(.uwsgi, .workerTimeout, pid: line.pid(after: "(pid: "))
    },
    Rule("DAMN ! worker ") { line in
      let signal = line.int32(after: "killed by signal ")
      return Wording(
        .uwsgi, signal == nil ? .workerExited : .workerKilled, pid: line.pid(after: "(pid: "),
        signal: signal)
    },
    // It catches the signal, and exits with 1.
    Rule("!!! uWSGI process ") { line in
      guard let rest = line.after("!!! uWSGI process "), rest.contains(text: "got Segmentation")
      else { return nil }
      return Wording(.uwsgi, .workerKilled, pid: rest.leadingPID, signal: 11)
    },
    // Its end by max-requests, max-worker-lifetime, reload-on-as and -rss, and by order.
    Rule("...The work of process ") {
      Wording(.uwsgi, .workerRecycle, pid: $0.pid(after: "...The work of process "))
    },
    Rule(" lifetime reached, it was running for ") {
      Wording(.uwsgi, .workerRecycle, measured: $0.number(after: "it was running for "))
    },
    // 21573 is `GET` read as a uwsgi header's size, and so for other methods: HTTP to its socket.
    Rule("invalid request block size") { line in
      let size =
        line.number(after: "invalid request block size: ") ?? line.number(after: "requested ")
      let limit = line.number(after: "(max ") ?? line.number(after: "available ")
      let isHTTP = size.map(isMethodSize) ?? false
      return Wording(
        .uwsgi, isHTTP ? .wrongProtocol : .requestTooLarge, limit: limit, measured: size)
    },
    Rule("uWSGI listen queue of socket ") { line in
      guard line.contains(text: "full !!!") else { return nil }
      return Wording(.uwsgi, .saturated, limit: line.after("full !!! (")?.number(after: "/"))
    },
    Rule("Respawned uWSGI worker ") {
      Wording(.uwsgi, .workerStarted, pid: $0.pid(after: "(new pid: "))
    },
    Rule("spawned uWSGI worker ") {
      Wording(.uwsgi, .workerStarted, pid: $0.pid(after: "(pid: "))
    },
    Rule("Gracefully killing worker ") {
      Wording(.uwsgi, .stopping, pid: $0.pid(after: "(pid: "))
    },
    Rule("SIGINT/SIGQUIT received...killing workers") { _ in Wording(.uwsgi, .stopping) },
    Rule("SIGINT/SIGTERM received...killing workers") { _ in Wording(.uwsgi, .stopping) },
    Rule("...gracefully killing workers...") { _ in Wording(.uwsgi, .stopping) },
    Rule("...brutally killing workers...") { _ in Wording(.uwsgi, .stopping) },
  ]

  /// Whether a size is the second and third byte of an HTTP method, as uWSGI reads them: its header
  /// is one byte of modifier and two of size, the lesser first.
  private static func isMethodSize(_ size: UInt64) -> Bool {
    let methods: [StaticString] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]
    return methods.contains { method in
      let text = method.utf8Start
      return size == UInt64(text[1]) | UInt64(text[2]) << 8
    }
  }
}
