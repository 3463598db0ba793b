import CLinux
public import Evidence
import Glibc
public import LinuxHost
import Synchronization

/// Finds the processes behind sockets, and tells when and how they end.
///
/// Yields `.process` for each process that holds a socket asked for (all of them: a prefork master
/// and its workers share a listener), `.processExit` at once when one ends, `.counters` (source
/// `processes`), and `.blindSpot` where it may not look. Needs CAP_SYS_PTRACE and
/// CAP_DAC_READ_SEARCH once privileges were dropped: the one to read where a descriptor points, the
/// other to list the directory.
public final class ProcessProbe: Probe {
  public let name = "processes"
  private let host: String
  private let table: ProcTable
  private let inbox: Inbox
  private let connector = Mutex<ExitConnector?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - host: named in every observation.
  ///   - proc: where the process table is mounted.
  public init(host: String = hostName(), proc: String = "/proc") {
    self.host = host
    table = ProcTable(root: proc)
    inbox = Inbox()
  }

  deinit { stop() }

  /// - Throws: `ProbeError` when the process table is not there.
  public func open() throws {
    guard table.stat(getpid()) != nil else {
      throw ProbeError(
        doing: "read \(table.root)", reason: "this process is not in it",
        remedy: "mount the host's process table (proc)")
    }
    try inbox.open()
    // Without it, kernels before 6.15 tell no exit status once the parent has taken it.
    let opened = try? ExitConnector()
    connector.withLock { $0 = opened }
  }

  /// Once it is open: whether the kernel tells of each exit with its status.
  public var hearsExits: Bool { connector.withLock { $0 != nil } }

  /// Asks for the owners of sockets; the answer is a `.process` observation for each. Safe from any
  /// thread, before and after `start`.
  /// - Parameter inodes: of sockets, as the socket probe tells them.
  public func find(inodes: some Sequence<UInt64>) { inbox.add(inodes) }

  /// Asks how a process ended that was seen to end by somebody else; the answer is a `.processExit`, if
  /// the kernel tells. Safe from any thread.
  public func tellEnd(of process: ProcessIdentity) { inbox.add(ending: process) }

  /// - Throws: `ProbeError` when it was not opened, or there can be no thread.
  public func start(_ sink: @escaping ObservationSink) throws {
    guard inbox.descriptor >= 0 else {
      throw ProbeError(doing: "find processes", reason: "it was not opened")
    }
    let opened = connector.withLock { connector in
      defer { connector = nil }
      return connector
    }
    let (host, table, inbox) = (host, table, inbox)
    let started = try ProbeThread.start("upclose-process") { thread in
      var watcher = ProcessWatcher(
        host: host, table: table, inbox: inbox, connector: opened, sink: sink)
      watcher.run(thread)
    }
    thread.withLock { $0 = started }
  }

  public func stop() {
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    running?.stop()
    connector.withLock { $0 = nil }
    inbox.close()
  }

  /// What a session loses when this probe could not be opened.
  public static func blindSpot(_ error: ProbeError) -> BlindSpot {
    BlindSpot(
      id: "processes", what: "the processes of this host were not seen: \(error.reason)",
      cost: "whether a backend was killed, exited or restarted is not known",
      remedy: error.remedy)
  }
}

/// Inodes that were asked for, and a descriptor that wakes the thread.
final class Inbox: Sendable {
  private struct State {
    var inodes: [UInt64] = []
    var ending: [ProcessIdentity] = []
    var refused: UInt64 = 0
    var descriptor: Int32 = -1
  }
  private let state = Mutex(State())

  /// At most so many wait; the thread takes them within milliseconds.
  private static let limit = 1 << 18

  var descriptor: Int32 { state.withLock { $0.descriptor } }

  func open() throws {
    let opened = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard opened >= 0 else { throw ProbeError(doing: "make an eventfd", reason: errorText(errno)) }
    close()
    state.withLock { $0.descriptor = opened }
  }

  func close() {
    state.withLock { state in
      if state.descriptor >= 0 { Glibc.close(state.descriptor) }
      state.descriptor = -1
    }
  }

  func add(_ inodes: some Sequence<UInt64>) {
    state.withLock { state in
      for inode in inodes where inode != 0 {
        if state.inodes.count < Self.limit {
          state.inodes.append(inode)
        } else {
          state.refused += 1
        }
      }
      var one: UInt64 = 1
      if state.descriptor >= 0 { _ = write(state.descriptor, &one, 8) }
    }
  }

  func add(ending process: ProcessIdentity) {
    state.withLock { state in
      guard state.ending.count < 4096 else { return }
      state.ending.append(process)
      var one: UInt64 = 1
      if state.descriptor >= 0 { _ = write(state.descriptor, &one, 8) }
    }
  }

  func takeEnding() -> [ProcessIdentity] {
    state.withLock { state in
      defer { state.ending = [] }
      return state.ending
    }
  }

  func take() -> (inodes: [UInt64], refused: UInt64) {
    state.withLock { state in
      var count: UInt64 = 0
      if state.descriptor >= 0 { _ = read(state.descriptor, &count, 8) }
      defer { state.inodes = [] }
      return (state.inodes, state.refused)
    }
  }
}
