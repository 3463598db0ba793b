import CLinux
import Evidence
package import Glibc
import LinuxHost

/// Finds a program on PATH or where system programs live (root's PATH may lack them).
package func findProgram(_ name: String) -> String? {
  let path = getenv("PATH").map { String(cString: $0) } ?? ""
  let places =
    path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
  return places.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
}

/// Starts a program in the network namespace of the calling thread, which must live as long as the
/// program does: the program may have asked for a signal at its parent *thread's* end.
///
/// It gets a process group of its own (a Ctrl-C in a terminal must not end it behind our back), no
/// blocked or ignored signals, no descriptors but the standard ones, and a small environment.
/// - Parameter output: the file to which standard output and error are appended.
package func spawn(_ program: String, _ arguments: [String], output: String) throws -> pid_t {
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var none = sigset_t()
  sigemptyset(&none)
  posix_spawnattr_setsigmask(&attributes, &none)
  var all = sigset_t()
  sigfillset(&all)
  posix_spawnattr_setsigdefault(&attributes, &all)
  posix_spawnattr_setpgroup(&attributes, 0)
  posix_spawnattr_setflags(
    &attributes,
    Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o644)
  posix_spawn_file_actions_adddup2(&actions, 1, 2)
  _ = clinux_spawn_close_from(&actions, 3)

  let argv = ([program] + arguments).map { strdup($0) } + [nil]
  var variables = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
  ]
  // Where the dynamic loader was told to find Swift's libraries, if it was.
  if let path = getenv("LD_LIBRARY_PATH") {
    variables.append("LD_LIBRARY_PATH=" + String(cString: path))
  }
  let environment = variables.map { strdup($0) } + [nil]
  defer { for pointer in argv + environment { free(pointer) } }
  var pid: pid_t = 0
  let result = posix_spawn(&pid, program, &actions, &attributes, argv, environment)
  guard result == 0 else {
    throw ProbeError(doing: "start \(program)", reason: errorText(result))
  }
  return pid
}

/// Runs a program to its end.
/// - Parameter output: a file of its own, which is removed again.
/// - Returns: what it wrote on standard output and error.
/// - Throws: `ProbeError` with its output when it exits with anything but 0.
@discardableResult
package func runProgram(_ program: String, _ arguments: [String], output: String) throws -> String {
  defer { unlink(output) }
  let pid = try spawn(program, arguments, output: output)
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  let text = try readFile(output)
  let words = String(escapingControlsIn: text.filter { $0 != 10 })
  guard status == 0 else {
    throw ProbeError(
      doing: "run \(([program] + arguments).joined(separator: " "))",
      reason: words.isEmpty ? "wait status \(status)" : words)
  }
  return String(decoding: text, as: UTF8.self)
}

/// Milliseconds on a clock that nobody sets.
package func monotonicMilliseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

/// Asks again and again until the condition holds: the lab never sleeps and hopes.
/// - Parameters:
///   - what: completes "wait until …" in the error.
///   - limit: milliseconds; generous, since a slow machine is no fault.
/// - Throws: `ProbeError` at the limit, and whatever `condition` throws.
package func wait(
  until what: String, limit: Int64 = 30_000, every pause: UInt32 = 5,
  _ condition: () throws -> Bool
) throws {
  let end = monotonicMilliseconds() + limit
  while try !condition() {
    guard monotonicMilliseconds() < end else {
      throw ProbeError(doing: "wait until \(what)", reason: "not so after \(limit / 1000) s")
    }
    usleep(pause * 1000)
  }
}
