import Evidence
import Glibc
import LinuxHost

/// Where the text of configuration files comes from.
protocol ConfigurationSource {
  /// The bytes of a file; nil when there is none.
  func contents(_ path: String) throws -> [UInt8]?
  /// The files that match a pattern with wildcards, in nginx's order.
  func matches(_ pattern: String) -> [String]
}

/// The file system, or what a container sees of it.
struct DiskSource: ConfigurationSource {
  let root: MountRoot

  func contents(_ path: String) throws -> [UInt8]? {
    let outside = root.outside(path)
    var status = stat()
    guard stat(outside, &status) == 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw ProbeError(doing: "open \(path)", reason: errorText(errno))
    }
    // Not a pipe or a device: whoever runs an nginx names these paths, and reading must end.
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw ProbeError(doing: "read \(path)", reason: "it is not a file")
    }
    return try readFile(outside)
  }

  func matches(_ pattern: String) -> [String] {
    // Wildcards mostly stand in the last part; the directories before it may be links.
    let slash = pattern.lastIndex(of: "/") ?? pattern.startIndex
    let directory = pattern[..<slash]
    let isPlain = !directory.contains { "*?[".contains($0) }
    let start = isPlain ? root.outside(String(directory)) : root.entry
    let name = isPlain ? pattern[slash...] : pattern[...]
    var found = glob_t()
    defer { globfree(&found) }
    guard glob(start + name, 0, nil, &found) == 0, let paths = found.gl_pathv else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { index in
      paths[index].map { path in
        let rest = String(cString: path).dropFirst(start.count)
        return String((isPlain ? directory : "") + rest)
      }
    }
  }
}

/// The output of `nginx -T`: every file that nginx read, each behind `# configuration file PATH:`.
struct DumpSource: ConfigurationSource {
  private(set) var files: [String: [UInt8]] = [:]
  /// The first file: nginx's main one.
  private(set) var main: String?

  private static let marker = Array("# configuration file ".utf8)

  /// Reads the output; what stands before the first marker (nginx's own words on stderr) is left out.
  init(_ bytes: [UInt8]) {
    var name: String?
    var start = 0
    var line = 0
    while line < bytes.count {
      let end = bytes[line...].firstIndex(of: 10) ?? bytes.count
      if let path = Self.path(bytes[line..<end]) {
        if let name { keep(name, bytes[start..<line]) }
        name = path
        if main == nil { main = path }
        start = min(end + 1, bytes.count)
      }
      line = end + 1
    }
    if let name { keep(name, bytes[start...]) }
  }

  /// Whether these bytes are such an output, and not a configuration file.
  static func isDump(_ bytes: [UInt8]) -> Bool { DumpSource(bytes).main != nil }

  func contents(_ path: String) -> [UInt8]? { files[path] }

  func matches(_ pattern: String) -> [String] {
    files.keys.filter { fnmatch(pattern, $0, FNM_PATHNAME | FNM_PERIOD) == 0 }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  private mutating func keep(_ name: String, _ bytes: ArraySlice<UInt8>) {
    // A comment that only looks like a marker of a file seen before belongs to where it stands.
    if files[name] == nil { files[name] = Array(bytes) }
  }

  private static func path(_ line: ArraySlice<UInt8>) -> String? {
    guard line.starts(with: marker), line.last == UInt8(ascii: ":") else { return nil }
    let path = line.dropFirst(marker.count).dropLast()
    return path.isEmpty ? nil : String(decoding: path, as: UTF8.self)
  }
}
