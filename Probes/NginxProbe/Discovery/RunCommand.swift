import Evidence
import Glibc
import LinuxHost

/// What a command wrote, and how it ended.
struct CommandResult: Hashable {
  /// Exit code; nil when a signal ended it.
  var code: Int32?
  var output: [UInt8]
  var errors: [UInt8]
}

/// Runs a program, with nothing on its standard input and an environment of its own, and waits for
/// its end; it and what it started are killed when it takes too long or writes too much.
/// - Parameters:
///   - path: the program; `arguments` start with its name.
///   - limit: bytes that it may write to each of its outputs.
/// - Throws: `ProbeError` when it cannot be started, or had to be killed.
func runCommand(
  _ path: String, _ arguments: [String], limit: Int = 64 << 20, timeout: TimeSpan = .seconds(10)
) throws -> CommandResult {
  let doing = "run \(arguments.joined(separator: " "))"
  let output = try Pipe(doing)
  let errors = try Pipe(doing)
  let child = try spawn(path, arguments, output, errors, doing)
  output.closeWriter()
  errors.closeWriter()
  var isReaped = false
  defer {
    if !isReaped {
      // Its process group: a program may have started others.
      kill(-child, SIGKILL)
      waitpid(child, nil, 0)
    }
  }
  let end = monotonic() + timeout.nanoseconds
  while !(output.isAtEnd && errors.isAtEnd) {
    let rest = (end - monotonic()) / 1_000_000
    guard rest > 0 else { throw ProbeError(doing: doing, reason: "no end after \(timeout)") }
    var polled = [output, errors].filter { !$0.isAtEnd }.map {
      pollfd(fd: $0.reader, events: Int16(POLLIN), revents: 0)
    }
    guard poll(&polled, nfds_t(polled.count), Int32(clamping: rest)) >= 0 || errno == EINTR else {
      throw ProbeError(doing: doing, reason: errorText(errno))
    }
    for entry in polled where entry.revents != 0 {
      let pipe = entry.fd == output.reader ? output : errors
      pipe.readSome()
      if pipe.bytes.count > limit {
        throw ProbeError(doing: doing, reason: "it wrote more than \(limit) bytes")
      }
    }
  }
  var status: Int32 = 0
  while waitpid(child, &status, WNOHANG) == 0 {
    guard monotonic() < end else {
      throw ProbeError(doing: doing, reason: "no end after \(timeout)")
    }
    usleep(1000)
  }
  isReaped = true
  return CommandResult(
    code: status & 0x7f == 0 ? (status >> 8) & 0xff : nil, output: output.bytes,
    errors: errors.bytes)
}

private func monotonic() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

private func spawn(
  _ path: String, _ arguments: [String], _ output: Pipe, _ errors: Pipe, _ doing: String
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_adddup2(&actions, output.writer, 1)
  posix_spawn_file_actions_adddup2(&actions, errors.writer, 2)
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  // Signals that this process blocks or ignores are the child's own business again.
  var none = sigset_t()
  var all = sigset_t()
  sigemptyset(&none)
  sigfillset(&all)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setsigdefault(&attributes, &all)
  posix_spawnattr_setpgroup(&attributes, 0)
  posix_spawnattr_setflags(
    &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
  var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
  // In particular not `NGINX`, by which nginx takes over sockets.
  let variables = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
  var environment: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) }
  argv.append(nil)
  environment.append(nil)
  defer { for pointer in argv + environment { free(pointer) } }
  var child = pid_t()
  let result = posix_spawn(&child, path, &actions, &attributes, argv, environment)
  guard result == 0 else { throw ProbeError(doing: doing, reason: errorText(result)) }
  return child
}

private final class Pipe {
  let reader: Int32
  private(set) var writer: Int32
  private(set) var bytes: [UInt8] = []
  private(set) var isAtEnd = false
  private var chunk = [UInt8](repeating: 0, count: 64 << 10)

  init(_ doing: String) throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw ProbeError(doing: doing, reason: errorText(errno)) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    reader = ends[0]
    writer = ends[1]
  }

  deinit {
    close(reader)
    closeWriter()
  }

  func closeWriter() {
    if writer >= 0 { close(writer) }
    writer = -1
  }

  func readSome() {
    let count = read(reader, &chunk, chunk.count)
    if count < 0, errno == EINTR { return }
    if count <= 0 { isAtEnd = true } else { bytes += chunk[..<count] }
  }
}
