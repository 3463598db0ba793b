import Evidence
import Glibc
import LinuxHost

/// Finds the nginx that run on this host, containers included.
public struct NginxDiscovery: Sendable {
  let proc: String

  /// - Parameter proc: `/proc`, or a tree like it.
  public init(proc: String = "/proc") { self.proc = proc }

  /// Every running master, in order of its pid.
  public func find() -> [FoundNginx] {
    let table = ProcessTable(root: proc)
    return table.pids.compactMap { FoundNginx(pid: $0, in: table) }
  }

  /// Where `find` looked, for a message as `No nginx: looked at 94 processes in /proc, ...`.
  public var whereItLooks: String {
    "looked at \(ProcessTable(root: proc).pids.count) processes in \(proc), none is titled "
      + "`\(NginxArguments.titleStart)...`"
  }
}

/// A running nginx master.
public struct FoundNginx: Hashable, Sendable {
  public var master: Int32
  /// The program's path, in the master's own mount namespace; nil when only root may know.
  public var executable: String?
  /// The program on disk was removed or replaced since it started.
  public var isExecutableDeleted: Bool
  public var build: NginxBuild
  public var arguments: NginxArguments
  /// Absolute, as the master sees it.
  public var configurationPath: String
  /// Where relative paths start; as the master sees it.
  public var prefix: String
  /// The real user's number.
  public var user: UInt32?
  /// The network namespace's inode.
  public var networkNamespace: UInt64?
  public var isInOtherNetworkNamespace: Bool
  public var isInOtherMountNamespace: Bool
  let proc: String
  let mountRoot: MountRoot

  /// Put before the paths that the master sees, to see them from here; links in them are its own.
  public var root: String { mountRoot.path }

  init?(pid: Int32, in table: ProcessTable) {
    guard let title = table.title(pid), let arguments = NginxArguments(title: title) else {
      return nil
    }
    let program = table.executable(pid)
    proc = table.root
    master = pid
    self.arguments = arguments
    executable = program?.path
    isExecutableDeleted = program?.isDeleted ?? false
    user = table.user(pid)
    networkNamespace = table.namespace("net", of: "\(pid)")
    isInOtherNetworkNamespace = networkNamespace != table.namespace("net", of: "self")
    isInOtherMountNamespace =
      table.namespace("mnt", of: "\(pid)") != table.namespace("mnt", of: "self")
    mountRoot = isInOtherMountNamespace ? MountRoot(table.path(pid, "root")) : .host
    build = NginxBuild()
    configurationPath = ""
    prefix = ""
    build =
      TrustedBinary(self)?.build() ?? NginxBuild(binary: table.path(pid, "exe"))
      ?? Self.usualPrograms(title).lazy.compactMap { NginxBuild(binary: $0) }.first ?? build
    prefix = arguments.prefix ?? build.prefix
    if !prefix.hasPrefix("/"), let directory = readLink(table.path(pid, "cwd")) {
      prefix = absolute(prefix, from: directory)
    }
    configurationPath = absolute(arguments.configuration ?? build.configurationPath, from: prefix)
  }

  /// Where the program may be, when /proc does not say: the title's first word, or as it is packaged.
  private static func usualPrograms(_ title: String) -> [String] {
    let first = title.dropFirst(NginxArguments.titleStart.count).prefix { $0 != " " }
    return (first.hasPrefix("/") ? [String(first)] : [])
      + ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx"]
  }

  /// The workers that run now, those that are shutting down included: they still write errors.
  public var workers: [Int32] { workers(shuttingDown: true) }

  func workers(shuttingDown: Bool) -> [Int32] {
    let table = ProcessTable(root: proc)
    return table.children(master).filter { pid in
      guard let title = table.title(pid) else { return false }
      return shuttingDown
        ? title.hasPrefix(NginxArguments.workerTitle) : title == NginxArguments.workerTitle
    }.sorted()
  }

  /// Whether the master still runs.
  public var isRunning: Bool {
    ProcessTable(root: proc).title(master)?.hasPrefix(NginxArguments.titleStart) ?? false
  }
}

extension NginxBuild {
  /// What `-V` would say, from the program's own bytes: for a program that must not or cannot be
  /// run here, as one of a container.
  init?(binary path: String) {
    guard let bytes = try? readFile(path, limit: 128 << 20) else { return nil }
    func text(after words: StaticString) -> String? {
      let span = bytes.span
      var from = 0
      while let start = span.first(words, in: from..<span.count) {
        let behind = start + words.utf8CodeUnitCount
        let text = bytes[behind...].prefix { $0 >= 0x20 }
        if !text.isEmpty { return String(decoding: text, as: UTF8.self) }
        from = behind
      }
      return nil
    }
    guard let version = text(after: "nginx version: ") else { return nil }
    let configured = text(after: "configure arguments:") ?? ""
    self.init(parsing: "nginx version: \(version)\nconfigure arguments:\(configured)\n")
  }
}

/// The master's program, when it may be run by whoever runs upclose.
///
/// Anyone can name a process `nginx: master process` and choose its options: only a program that
/// root alone can change, with the options of a process of root's (or our own), is run.
struct TrustedBinary {
  private let descriptor: Int32
  private let owner: Owner

  private final class Owner {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
  }

  init?(_ nginx: FoundNginx) {
    guard !nginx.isInOtherMountNamespace, nginx.user == 0 || nginx.user == geteuid() else {
      return nil
    }
    let descriptor = open("\(nginx.proc)/\(nginx.master)/exe", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    owner = Owner(descriptor)
    self.descriptor = descriptor
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & 0o022 == 0
    else { return nil }
  }

  func run(_ arguments: [String]) throws -> CommandResult {
    // The very file that was looked at.
    try runCommand("/proc/self/fd/\(descriptor)", ["nginx"] + arguments)
  }

  func build() -> NginxBuild? {
    guard let result = try? run(["-V"]), result.code == 0 else { return nil }
    let build = NginxBuild(parsing: String(decoding: result.errors + result.output, as: UTF8.self))
    return build.product == nil ? nil : build
  }
}
