public import Evidence
import Glibc

/// The text of an errno, as `No such file or directory`.
public func errorText(_ code: Int32) -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  _ = strerror_r(code, &buffer, buffer.count)
  return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// The realtime clock.
public func currentTime() -> Timestamp {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
}

/// The kernel's node name.
public func hostName() -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
  return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// A whole file, as those of /proc, whose size is not known beforehand.
/// - Parameter limit: bytes at which reading stops.
/// - Throws: `ProbeError` with the path and the errno's text.
public func readFile(_ path: String, limit: Int = 64 << 20) throws -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else {
    throw ProbeError(doing: "open \(path)", reason: errorText(errno))
  }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 64 << 10)
  while bytes.count < limit {
    let count = read(descriptor, &chunk, min(chunk.count, limit - bytes.count))
    if count < 0 {
      if errno == EINTR { continue }
      throw ProbeError(doing: "read \(path)", reason: errorText(errno))
    }
    if count == 0 { break }
    bytes += chunk[..<count]
  }
  return bytes
}

/// Where a symbolic link points, or nil.
public func readLink(_ path: String) -> String? {
  var buffer = [UInt8](repeating: 0, count: 4096)
  let count = buffer.withUnsafeMutableBytes { raw in
    raw.withMemoryRebound(to: CChar.self) { name in
      name.baseAddress.map { readlink(path, $0, name.count) } ?? -1
    }
  }
  return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
}

/// The names in a directory, without `.` and `..`; empty when it cannot be read.
public func directoryEntries(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}
