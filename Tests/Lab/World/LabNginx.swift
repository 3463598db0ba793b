import Evidence
import Glibc
import LinuxHost

/// A real nginx with one worker, in its own namespace and directory.
struct LabNginx: Sendable {
  var master: pid_t
  var worker: pid_t
  var listen: Endpoint

  static func start(
    _ program: String, configuration: NginxConfiguration, namespace: Namespace, undo: Undo
  ) throws -> LabNginx {
    let directory = configuration.directory
    let file = directory + "/nginx.conf"
    let output = directory + "/nginx.out"
    try writeFile(configuration.text, to: file)
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
    let listen = configuration.listen
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
  func stopWorker() throws {
    kill(worker, SIGSTOP)
    try wait(until: "nginx's worker \(worker) is stopped", every: 1) {
      guard let status = ProcessStatus(worker) else {
        throw ProbeError(doing: "stop nginx's worker", reason: "process \(worker) is gone")
      }
      return status.state == "T"
    }
  }

  func continueWorker() { kill(worker, SIGCONT) }
}
