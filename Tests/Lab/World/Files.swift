import Evidence
import Glibc
import LinuxHost

/// Writes a whole text.
package func writeFile(
  _ text: String, to path: String, flags: Int32 = O_WRONLY | O_CREAT | O_TRUNC
) throws {
  let descriptor = open(path, flags | O_CLOEXEC, 0o644)
  guard descriptor >= 0 else {
    throw ProbeError(doing: "open \(path)", reason: errorText(errno))
  }
  defer { close(descriptor) }
  let bytes = Array(text.utf8)
  var offset = 0
  while offset < bytes.count {
    let count = bytes.withUnsafeBytes { raw in
      write(descriptor, raw.baseAddress.map { $0 + offset }, raw.count - offset)
    }
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { throw ProbeError(doing: "write \(path)", reason: errorText(errno)) }
    offset += count
  }
}

/// Removes a file or a directory with all that is in it, following no links; nothing to do when it
/// is gone.
package func removeTree(_ path: String) throws {
  var status = stat()
  guard lstat(path, &status) == 0 else { return }
  if status.st_mode & S_IFMT == S_IFDIR {
    for name in directoryEntries(path) { try removeTree("\(path)/\(name)") }
    guard rmdir(path) == 0 || errno == ENOENT else {
      throw ProbeError(doing: "remove \(path)", reason: errorText(errno))
    }
  } else {
    guard unlink(path) == 0 || errno == ENOENT else {
      throw ProbeError(doing: "remove \(path)", reason: errorText(errno))
    }
  }
}
