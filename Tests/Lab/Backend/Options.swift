import Glibc
import LinuxHost

/// What the command line asks for.
struct Options {
  var address: in_addr
  var port: UInt16
  /// The address as it was written, for messages.
  var listen: String
  /// An idle keepalive connection is closed after this long.
  var idleTimeout: Double
  var name = "backend"
  var workers = 1
  /// Of the listening socket.
  var backlog: Int32 = 128
  /// Directory of a memory cgroup that every worker enters; nil: none.
  var memoryCgroup: String?
  /// A connection is closed after so many answers, without a word of it in the last one.
  var requestLimit: Int?
  /// How long after that last answer, in milliseconds.
  var limitPause: Int64 = 0
  /// Idle connections end with a reset instead of a FIN.
  var resetsIdle = false
  /// Where it is written what was done to which request, just before it is done.
  var deeds: String?
  /// Set for a worker only: the listening descriptor it inherited.
  var workerDescriptor: Int32?

  static let usage = """
    usage: lab-backend --listen ADDR:PORT --idle-timeout SECONDS [--name NAME] [--workers N]
                       [--memory-cgroup DIRECTORY] [--request-limit N [--limit-pause MS]]
                       [--idle-close fin|reset] [--backlog N] [--deeds FILE]

    A small HTTP/1.1 server for upclose's lab: a master that listens, and workers that it restarts
    200 ms after they died. A request whose path contains one of these gets a real fault:
      /fault/close     the request is read, the connection closed without an answer (FIN)
      /fault/linger    the same with SO_LINGER 0 (RST)
      /fault/segv      the request is read, then the worker reads a null pointer (SIGSEGV)
      /fault/oom       the request is read, then memory is touched until the kernel kills the worker
                       (only with --memory-cgroup)
      /fault/truncate  half of the promised body, then FIN
      /fault/cut       half of the promised body, then RST
      /fault/exit      the worker exits with code 1
      /fault/kill      the worker kills itself with SIGKILL
      /fault/abort     the worker calls abort()
      /fault/unread    the connection is closed before the request is read (RST)
      /fault/garbage   an answer that is not HTTP
      /fault/header    an answer with a header that nginx refuses
      /fault/chunk     an answer with a chunk that has no length
      /fault/big       an answer with 9000 bytes of header
    --deeds FILE: a line `TOKEN PID PORT WORD` is appended before each, the token being the last part
    of the path, as lab1x2z. Of a fault that ends the worker every connection of it gets one, with
    the token -.
    Any other request is answered; with ?ms=N in it, after N milliseconds.

    """

  /// - Throws: `UsageError`.
  init(_ arguments: [String]) throws {
    var values: [String: String] = [:]
    var rest = arguments.dropFirst()
    while let option = rest.popFirst() {
      guard Self.known.contains(option) else { throw UsageError("'\(option)' is not an option") }
      guard let value = rest.popFirst() else { throw UsageError("\(option) needs a value") }
      values[option] = value
    }
    guard let listen = values["--listen"] else { throw UsageError("--listen ADDR:PORT is missing") }
    let parts = listen.split(separator: ":", omittingEmptySubsequences: false)
    var address = in_addr()
    guard parts.count == 2, inet_pton(AF_INET, String(parts[0]), &address) == 1,
      let port = UInt16(parts[1])
    else { throw UsageError("--listen \(listen) is not an IPv4 address and a port") }
    guard let idle = values["--idle-timeout"].flatMap(Double.init), (0.001...86400).contains(idle)
    else { throw UsageError("--idle-timeout needs seconds, more than 0 and at most 86400") }
    guard let workers = Int(values["--workers"] ?? "1"), (1...64).contains(workers) else {
      throw UsageError("--workers needs a number from 1 to 64")
    }
    self.address = address
    self.port = port
    self.listen = listen
    self.idleTimeout = idle
    self.name = values["--name"] ?? name
    self.workers = workers
    memoryCgroup = values["--memory-cgroup"]
    requestLimit = values["--request-limit"].flatMap(Int.init)
    limitPause = values["--limit-pause"].flatMap(Int64.init) ?? 0
    resetsIdle = values["--idle-close"] == "reset"
    backlog = values["--backlog"].flatMap(Int32.init) ?? backlog
    deeds = values["--deeds"]
    workerDescriptor = values["--worker-descriptor"].flatMap(Int32.init)
  }

  private static let known: Set<String> = [
    "--listen", "--idle-timeout", "--name", "--workers", "--memory-cgroup", "--worker-descriptor",
    "--request-limit", "--limit-pause", "--idle-close", "--backlog", "--deeds",
  ]
}

struct UsageError: Error {
  var reason: String
  init(_ reason: String) { self.reason = reason }
}

/// One plain sentence on standard error, in one write so that master and workers do not mix.
func report(_ name: String, _ sentence: String) {
  let line = Array("lab-backend \(name) [\(getpid())]: \(sentence)\n".utf8)
  _ = write(2, line, line.count)
}

/// - Returns: the exit code: 0 ended as asked, 1 could not do its work, 64 wrong usage.
func runBackend(_ arguments: [String]) -> Int32 {
  if arguments.contains("--help") {
    _ = write(1, Options.usage, Options.usage.utf8.count)
    return 0
  }
  let options: Options
  do {
    options = try Options(arguments)
  } catch {
    report("-", (error as? UsageError)?.reason ?? "\(error)")
    _ = write(2, Options.usage, Options.usage.utf8.count)
    return 64
  }
  signal(SIGPIPE, SIG_IGN)
  if let descriptor = options.workerDescriptor {
    var worker = Worker(options, listener: descriptor)
    return worker.run()
  }
  return Master(options).run()
}
