import CLinux
import Evidence
import Glibc
import LinuxHost

/// A unit's journal, followed by `journalctl --follow` in a process of its own: the journal's files
/// have a format of which only systemd's own reader knows every version.
final class FollowedJournal {
  let source: BackendLogSource
  let reader: LineReader
  /// The end of the pipe that is read; -1 when it ended.
  private(set) var descriptor: Int32
  private var process: pid_t
  private var cutter = LineCutter()
  var context = ContextLines()

  /// Starts it, with the rights that this process has now.
  /// - Throws: `ProbeError` when there is no journalctl.
  init(_ source: BackendLogSource, unit: String, stamps: LineStamp.Context) throws {
    self.source = source
    reader = LineReader(path: source.shownPath, upstream: source.upstream, stamps: stamps)
    let doing = "follow the journal of \(String(escapingControlsIn: unit.utf8))"
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw ProbeError(doing: doing, reason: errorText(errno)) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    _ = clinux_spawn_close_from(&actions, 3)
    // What systemd itself says of the unit is in its own unit's journal, and found by UNIT=.
    let words = [
      "journalctl", "--follow", "--lines=0", "--output=json", "--quiet", "--unit=\(unit)",
    ]
    var arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var pid: pid_t = 0
    let result = posix_spawnp(&pid, words[0], &actions, nil, &arguments, environ)
    close(ends[1])
    guard result == 0 else {
      close(ends[0])
      throw ProbeError(
        doing: doing, reason: "journalctl: \(errorText(result))",
        remedy: "let the backend log to a file, and name it with --backend-log FILE")
    }
    process = pid
    descriptor = ends[0]
  }

  deinit { stop() }

  /// - Returns: whether it goes on.
  func service(_ body: (LineReader.Line, Timestamp) -> Void) -> Bool {
    guard descriptor >= 0 else { return false }
    let reader = reader
    return withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 8) { buffer in
      while true {
        let count = read(descriptor, buffer.baseAddress, buffer.count)
        if count < 0, errno == EINTR { continue }
        if count < 0 { return errno == EAGAIN }
        if count == 0 {
          stop()
          return false
        }
        let now = currentTime()
        cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { bytes, offset in
          if let line = reader.read(bytes, at: offset) { body(line, now) }
        }
      }
    }
  }

  func stop() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    guard process > 0 else { return }
    kill(process, SIGTERM)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    process = 0
  }
}
