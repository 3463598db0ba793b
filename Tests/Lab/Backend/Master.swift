import CLinux
import Glibc
import LinuxHost

/// Listens, and keeps workers alive; it never touches a connection. Like the masters of gunicorn and
/// php-fpm it holds the listening socket, so that while a worker is being restarted connections wait
/// instead of being refused.
struct Master {
  let options: Options
  /// Between a worker's death and the start of the next one.
  static let restartPause: Int64 = 200

  private struct Child {
    var pid: pid_t
    /// Becomes readable when the process ends.
    var descriptor: Int32
  }

  init(_ options: Options) { self.options = options }

  func run() -> Int32 {
    // Whoever started this may be killed without a chance to end it.
    guard clinux_set_parent_death_signal(SIGTERM) == 0 else {
      return fail("cannot ask for a signal at the parent's death")
    }
    // SIGTERM and SIGINT are read from a descriptor, in line with the deaths of workers.
    let signals = clinux_termination_signalfd()
    guard signals >= 0 else { return fail("cannot watch for signals") }
    guard let program = readLink("/proc/self/exe") else {
      return fail("cannot find its own executable")
    }
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard listener >= 0 else { return fail("cannot open a socket") }
    if let problem = listen(on: listener) { return fail(problem) }
    return supervise(program: program, listener: listener, signals: signals)
  }

  private func listen(on descriptor: Int32) -> String? {
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr = options.address
    address.sin_port = options.port.bigEndian
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard bound == 0 else { return "cannot bind \(options.listen)" }
    // Workers share it: one that loses the race for a connection must not block in accept(2).
    guard fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0,
      Glibc.listen(descriptor, options.backlog) == 0
    else {
      return "cannot listen on \(options.listen)"
    }
    return nil
  }

  private func supervise(program: String, listener: Int32, signals: Int32) -> Int32 {
    var children: [Child] = []
    /// When each missing worker is due, in monotonic milliseconds.
    var due = [Int64](repeating: monotonicMilliseconds(), count: options.workers)
    while true {
      let now = monotonicMilliseconds()
      while let next = due.first, next <= now {
        due.removeFirst()
        guard let child = startWorker(program: program, listener: listener) else {
          end(children)
          return 1
        }
        children.append(child)
      }
      var polled = ([signals] + children.map(\.descriptor)).map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      let wait = due.first.map { Int32(max(0, $0 - now)) } ?? -1
      guard poll(&polled, nfds_t(polled.count), wait) >= 0 || errno == EINTR else {
        return fail("cannot wait for workers")
      }
      if polled[0].revents != 0 {
        end(children)
        return 0
      }
      for (index, entry) in zip(children.indices, polled.dropFirst()).reversed()
      where entry.revents != 0 {
        reap(children.remove(at: index))
        due.append(monotonicMilliseconds() + Self.restartPause)
      }
    }
  }

  private func startWorker(program: String, listener: Int32) -> Child? {
    var arguments = [
      program, "--listen", options.listen, "--idle-timeout", "\(options.idleTimeout)",
      "--name", options.name, "--worker-descriptor", "\(listener)",
    ]
    if let directory = options.memoryCgroup { arguments += ["--memory-cgroup", directory] }
    if let limit = options.requestLimit {
      arguments += ["--request-limit", "\(limit)", "--limit-pause", "\(options.limitPause)"]
    }
    if options.resetsIdle { arguments += ["--idle-close", "reset"] }
    if let deeds = options.deeds { arguments += ["--deeds", deeds] }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // The master's blocked signals are not for the worker.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

    var pid: pid_t = 0
    let argv = arguments.map { strdup($0) } + [nil]
    // Swift's own crash handler would catch the SIGSEGV, start another process and take seconds,
    // which no ordinary backend does.
    let environment = [strdup("SWIFT_BACKTRACE=enable=no"), strdup("LANG=C"), nil]
    defer { for pointer in argv + environment { free(pointer) } }
    let result = posix_spawn(&pid, program, nil, &attributes, argv, environment)
    guard result == 0 else {
      report(options.name, "cannot start a worker: \(errorText(result))")
      return nil
    }
    let descriptor = clinux_pidfd_open(pid)
    guard descriptor >= 0 else {
      _ = fail("cannot watch worker \(pid)")
      kill(pid, SIGKILL)
      return nil
    }
    report(options.name, "started worker \(pid)")
    return Child(pid: pid, descriptor: descriptor)
  }

  private func reap(_ child: Child) {
    close(child.descriptor)
    var status: Int32 = 0
    guard waitpid(child.pid, &status, 0) == child.pid else { return }
    let signal = status & 0x7f
    report(
      options.name,
      signal == 0
        ? "worker \(child.pid) exited with code \(status >> 8 & 0xff)"
        : "worker \(child.pid) was terminated by signal \(signal)")
  }

  private func end(_ children: [Child]) {
    for child in children { kill(child.pid, SIGTERM) }
    for child in children { reap(child) }
    report(options.name, "ended")
  }

  private func fail(_ sentence: String) -> Int32 {
    report(options.name, "\(sentence): \(errorText(errno))")
    return 1
  }
}

/// Milliseconds on a clock that nobody sets.
func monotonicMilliseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
