import Evidence
import Glibc
import LinuxHost

/// Replaces a file in one step: who reads it sees the old text or the new one, never half of it.
/// - Throws: `ProbeError` with the path; the old file is then untouched.
func writeAtomically(_ text: String, to path: String) throws {
  let temporary = "\(path).\(getpid()).tmp"
  let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  guard descriptor >= 0 else {
    throw ProbeError(doing: "write \(temporary)", reason: errorText(errno))
  }
  let bytes = Array(text.utf8)
  var written = 0
  var error: Int32 = 0
  while written < bytes.count, error == 0 {
    let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count > 0 { written += count } else if errno != EINTR { error = errno }
  }
  // After a power failure a renamed file could else be empty.
  if error == 0, fsync(descriptor) != 0, errno != EINVAL { error = errno }
  close(descriptor)
  if error == 0, rename(temporary, path) != 0 { error = errno }
  guard error == 0 else {
    unlink(temporary)
    throw ProbeError(doing: "write \(path)", reason: errorText(error))
  }
}
