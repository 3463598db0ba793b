import Evidence
import Glibc
import LinuxHost

/// The kernel's tracing directory (tracefs), held by a descriptor: everything below it is reached from
/// there, so that nothing need be mounted where others see it.
final class TraceRoot: Sendable {
  let descriptor: Int32

  /// - Parameter paths: where it may be mounted already. When it is at none of them it is mounted
  ///   aside, and taken out of sight at once: the descriptor alone keeps it.
  /// - Throws: `ProbeError` when the kernel has none, or it may not be used.
  init(paths: [String] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]) throws {
    for path in paths {
      let opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard opened >= 0 else { continue }
      if faccessat(opened, "events/header_page", F_OK, 0) == 0 {
        descriptor = opened
        return
      }
      close(opened)
    }
    descriptor = try Self.mountAside()
  }

  deinit { close(descriptor) }

  private static func mountAside() throws -> Int32 {
    var name = Array("/tmp/upclose-XXXXXX".utf8CString)
    guard mkdtemp(&name) != nil else {
      throw ProbeError(doing: "make a directory for tracefs", reason: errorText(errno))
    }
    let path = String(
      decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(path) }
    guard mount("tracefs", path, "tracefs", 0, nil) == 0 else {
      let code = errno
      throw ProbeError(
        doing: "mount tracefs", reason: errorText(code),
        remedy: code == ENODEV
          ? "use a kernel with CONFIG_TRACING" : "run as root on the host, not in a container")
    }
    defer { umount2(path, Int32(MNT_DETACH)) }
    let opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard opened >= 0 else { throw ProbeError(doing: "open tracefs", reason: errorText(errno)) }
    return opened
  }

  /// The text of a file below it; nil when it is not there.
  func read(_ path: String) -> String? { TraceFile.read(descriptor, path) }

  /// The format of an event, as `tcp/tcp_send_reset`; nil when the kernel has no such event.
  func format(_ event: String) -> TraceFormat? {
    read("events/\(event)/format").flatMap { TraceFormat($0) }
  }
}

/// Small files of tracefs.
enum TraceFile {
  static func read(_ directory: Int32, _ path: String) -> String? {
    let descriptor = openat(directory, path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return text(descriptor)
  }

  /// From the descriptor's start, wherever it stands.
  static func text(_ descriptor: Int32) -> String? {
    guard lseek(descriptor, 0, SEEK_SET) >= 0 else { return nil }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while bytes.count < 1 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// - Returns: 0 or the errno.
  static func write(_ directory: Int32, _ path: String, _ text: String) -> Int32 {
    let descriptor = openat(directory, path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    return write(descriptor, text)
  }

  /// In one write, as these files want it.
  static func write(_ descriptor: Int32, _ text: String) -> Int32 {
    let bytes = Array(text.utf8)
    return Glibc.write(descriptor, bytes, bytes.count) == bytes.count ? 0 : errno
  }
}
