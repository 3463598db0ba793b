import CLinux
public import Evidence
import Glibc
import LinuxHost
import Synchronization

/// A log to follow.
public struct LogSource: Hashable, Sendable {
  /// The path of a log that comes through a pipe.
  public static let standardInput = "-"

  /// Absolute, as this process can open it; `-`: the standard input.
  public var path: String
  /// Of an access log; nil for an error log.
  public var format: AccessLogFormat?

  public init(path: String, format: AccessLogFormat? = nil) {
    self.path = path
    self.format = format
  }
}

/// Follows error logs, and access logs beside them, as they are written.
///
/// It starts at their ends. Lines come in the order of their log, none twice and none left out,
/// through rotation by rename and create, by `copytruncate` (whose own loss between copy and cut
/// nobody can undo), by a symbolic link, through deletion, and in a log that does not exist yet.
public final class ErrorLogFollower: Probe {
  public let name = "errors"
  private let options: LogOptions
  private let sources: Mutex<[LogSource]>
  private let inotify = Mutex<Int32>(-1)
  private let opened = Mutex<Opened?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - paths: absolute paths of error logs, each of which is followed by its name; `-` is the
  ///     standard input, as it comes.
  ///   - accessLogs: followed beside them.
  public init(_ paths: [String], accessLogs: [LogSource] = [], options: LogOptions) {
    self.options = options
    sources = Mutex(paths.map { LogSource(path: $0) } + accessLogs)
  }

  deinit { stop() }

  /// Opens the logs, at their ends.
  /// - Throws: `ProbeError` when none of them can ever be followed here; one that does not exist yet
  ///   is waited for.
  public func open() throws {
    let descriptor = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    guard descriptor >= 0 else {
      throw ProbeError(
        doing: "watch the error log (inotify)", reason: errorText(errno),
        remedy: "raise fs.inotify.max_user_instances")
    }
    inotify.withLock { $0 = descriptor }
    let wanted = sources.withLock { $0 }
    let reader = LogReader(options: options, inotify: descriptor)
    for source in wanted { reader.follow(source, fromEnd: true) }
    let errorLogs = reader.logs.filter { $0.access == nil }
    let problems = errorLogs.compactMap { $0.problem }.filter { !$0.isWaitedFor }
    if let problem = problems.first, problems.count == errorLogs.count { throw problem }
    opened.withLock { $0 = Opened(reader: reader) }
  }

  public func start(_ sink: @escaping ObservationSink) throws {
    guard let opened = opened.withLock({ $0.take() }) else {
      throw ProbeError(doing: "follow the error log", reason: "it was not opened")
    }
    let thread = try ProbeThread.start("upclose-errors") { [weak self] thread in
      opened.reader.run(thread, sink) { self?.sources.withLock { $0 } ?? [] }
    }
    self.thread.withLock { $0 = thread }
  }

  /// Follows these too, from now on: from their ends, for logs that exist; at once, or within a
  /// second.
  public func follow(_ more: [String], accessLogs: [LogSource] = []) {
    let more = more.map { LogSource(path: $0) } + accessLogs
    sources.withLock { sources in
      for log in more where !sources.contains(where: { $0.path == log.path }) {
        sources.append(log)
      }
    }
  }

  public func stop() {
    thread.withLock { $0.take() }?.stop()
    opened.withLock { $0 = nil }
    inotify.withLock { descriptor in
      if descriptor >= 0 { close(descriptor) }
      descriptor = -1
    }
  }

  /// Handed from the opening thread to the probe's own, once.
  private final class Opened: @unchecked Sendable {
    let reader: LogReader
    init(reader: LogReader) { self.reader = reader }
  }
}

extension ProbeError {
  /// A log that is not there may come.
  fileprivate var isWaitedFor: Bool { reason == errorText(ENOENT) }
}
