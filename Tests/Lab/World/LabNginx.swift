package import Evidence
package import Glibc
import LinuxHost

/// A real nginx with one worker, in its own namespace and directory.
package struct LabNginx: Sendable {
  package var master: pid_t
  package var worker: pid_t
  package var listen: Endpoint

  /// - Parameters:
  ///   - directory: holds its configuration, logs and temporary files.
  ///   - text: the whole configuration, which listens on `listen`.
  /// - Throws: `ProbeError` with nginx's own words.
  package static func start(
    _ program: String, directory: String, text: String, listen: Endpoint, namespace: Namespace,
    undo: Undo
  ) throws -> LabNginx {
    let file = directory + "/nginx.conf"
    let output = directory + "/nginx.out"
    try writeFile(text, to: file)
    // -e: else it opens the log that it was compiled with before it reads the configuration.
    var arguments = ["-p", directory + "/", "-c", file, "-e", directory + "/error.log"]
    var launcher = program
    // nginx does not end with its parent; setpriv of util-linux asks the kernel to make it.
    if let setpriv = findProgram("setpriv") {
      arguments = ["--pdeathsig", "TERM", program] + arguments
      launcher = setpriv
    }
    let (start, with) = (launcher, arguments)
    let master = try namespace.run { try spawn(start, with, output: output) }
    undo.register("end nginx \(master)") {
      // A stopped worker would not hear its master.
      for worker in children(of: master) { kill(worker, SIGCONT) }
      endChild(master)
    }
    var workers: [pid_t] = []
    try wait(until: "nginx listens on \(listen)") {
      guard waitpid(master, nil, WNOHANG) == 0 else {
        let log = access(output, F_OK) == 0 ? lastLine(of: output) : ""
        throw ProbeError(
          doing: "start nginx", reason: log.isEmpty ? lastLine(of: directory + "/error.log") : log)
      }
      workers = children(of: master)
      return try !workers.isEmpty && namespace.run { try TCPTable().isListening(listen) }
    }
    return LabNginx(master: master, worker: workers[0], listen: listen)
  }

  /// Stops the worker, and waits until it stands still.
  package func stopWorker() throws {
    kill(worker, SIGSTOP)
    try wait(until: "nginx's worker \(worker) is stopped", every: 1) {
      guard let status = ProcessStatus(worker) else {
        throw ProbeError(doing: "stop nginx's worker", reason: "process \(worker) is gone")
      }
      return status.state == "T"
    }
  }

  package func continueWorker() { kill(worker, SIGCONT) }
}
