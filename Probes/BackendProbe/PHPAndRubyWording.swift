import Evidence
import LinuxHost

extension Wording {
  /// php-fpm (sapi/fpm/fpm/fpm_children.c, fpm_request.c, fpm_process_ctl.c, fpm_events.c), 5.3 to 8.
  static let phpFPM: [Rule] = [
    Rule(", terminating") { line in
      guard let rest = line.after("] child "), line.contains(text: "execution timed out (") else {
        return nil
      }
      return Wording(
        .phpFPM, .workerTimeout, pid: rest.leadingPID,
        measured: line.number(after: "execution timed out ("))
    },
    // `child %d exited on signal %d (%s) after … seconds from start`, `exited with code %d after …`.
    Rule("] child ") { line in
      guard let rest = line.after("] child "), let pid = rest.leadingPID else { return nil }
      if let signal = rest.int32(after: "exited on signal ") {
        return Wording(.phpFPM, .workerKilled, pid: pid, signal: signal)
      }
      if let code = rest.int32(after: "exited with code ") {
        // A child that has had its pm.max_requests ends so, with 0.
        return Wording(.phpFPM, code == 0 ? .workerRecycle : .workerExited, pid: pid, code: code)
      }
      return rest.after(" ")?.begins(with: "started") ?? false
        ? Wording(.phpFPM, .workerStarted, pid: pid) : nil
    },
    Rule("reached max_children setting (") {
      Wording(.phpFPM, .saturated, limit: $0.number(after: "max_children setting ("))
    },
    Rule("reached pm.max_children setting (") {
      Wording(.phpFPM, .saturated, limit: $0.number(after: "max_children setting ("))
    },
    Rule("NOTICE: Terminating ...") { _ in Wording(.phpFPM, .stopping) },
    Rule("NOTICE: Finishing ...") { _ in Wording(.phpFPM, .stopping) },
    Rule("NOTICE: Reloading in progress ...") { _ in Wording(.phpFPM, .stopping) },
    Rule("NOTICE: ready to handle connections") { _ in Wording(.phpFPM, .started) },
    Rule("Allowed memory size of ") {
      Wording(.phpFPM, .outOfMemory, limit: $0.number(after: "Allowed memory size of "))
    },
    Rule("Maximum execution time of ") {
      Wording(.phpFPM, .exception, limit: $0.number(after: "Maximum execution time of "))
    },
    Rule("PHP Fatal error: ") { _ in Wording(.phpFPM, .exception) },
  ]

  /// Puma (lib/puma/cluster.rb, launcher.rb, cluster/worker_handle.rb), 3 to 7.
  static let puma: [Rule] = [
    // `! Terminating timed out worker (worker failed to check in within 60 seconds): 6`; before 5 it
    // says no more than the pid.
    Rule("Terminating timed out worker") { line in
      guard let rest = line.after("Terminating timed out worker") else { return nil }
      return Wording(
        .puma, .workerTimeout, pid: rest.after(": ", last: true)?.leadingPID,
        limit: rest.number(after: "within "))
    },
    Rule("Out-of-sync worker list, no ") {
      Wording(.puma, .workerExited, pid: $0.pid(after: "no "))
    },
    Rule("PumaWorkerKiller: ") { line in
      guard line.contains(text: "Sending TERM to pid ") else { return nil }
      return Wording(.puma, .workerRecycle, pid: line.pid(after: "Sending TERM to pid "))
    },
    Rule("- Gracefully stopping, waiting for requests to finish") { _ in
      Wording(.puma, .stopping)
    },
    Rule("- Gracefully shutting down workers") { _ in Wording(.puma, .stopping) },
    Rule("=== puma shutdown: ") { _ in Wording(.puma, .stopping) },
    Rule("* Restarting...") { _ in Wording(.puma, .stopping) },
    Rule("* Phased restart") { _ in Wording(.puma, .stopping) },
  ]
}
