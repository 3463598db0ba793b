import Evidence
import Glibc
import LinuxHost

/// Whose thread is it? An event names a thread; when it is read, thread and process may be gone.
///
/// What is remembered of before then decides: processes that were asked for or seen acting, the
/// threads of all processes as they were at the start, and each that was made since.
struct ThreadCensus: Sendable {
  private let table: ProcTable
  /// The kernel's own memory of recent commands (`saved_cmdlines`), for those that left no other
  /// trace; -1 without it.
  private let savedCommands: Int32
  private var processes: [Int32: ProcessIdentity] = [:]
  /// Threads that are not their process's first.
  private var processOfThread: [Int32: Int32] = [:]
  private var parents: [Int32: Int32] = [:]

  /// More are forgotten, all at once: they are looked up again.
  private static let limit = 65_536

  init(table: ProcTable, savedCommands: Int32 = -1) {
    self.table = table
    self.savedCommands = savedCommands
  }

  /// Learns every process's parent and threads.
  mutating func begin() {
    for pid in table.processes() {
      parents[pid] = table.stat(pid)?.parent
      for thread in table.threads(of: pid) where thread != pid { processOfThread[thread] = pid }
    }
  }

  mutating func know(_ process: ProcessIdentity) {
    if processes.count >= Self.limit { processes = [:] }
    processes[process.pid] = process
  }

  mutating func threadStarted(_ thread: Int32, by creator: Int32) {
    if processOfThread.count >= Self.limit { processOfThread = [:] }
    processOfThread[thread] = processOfThread[creator] ?? creator
  }

  mutating func processStarted(_ pid: Int32, by creator: Int32) {
    if parents.count >= Self.limit { parents = [:] }
    parents[pid] = processOfThread[creator] ?? creator
    processes[pid] = nil
    processOfThread[pid] = nil
  }

  /// Forgets a thread that has ended; its pid may be another's soon.
  mutating func forget(_ thread: Int32) {
    processes[thread] = nil
    processOfThread[thread] = nil
    parents[thread] = nil
  }

  /// Reads a process anew: it executed another program.
  /// - Returns: who it was, where that is known, and who it is.
  mutating func executed(_ pid: Int32) -> (old: ProcessIdentity?, new: ProcessIdentity?) {
    let old = processes.removeValue(forKey: pid)
    processOfThread[pid] = nil
    // A process that nobody asked about is looked up when somebody does.
    return (old, old == nil ? nil : look(pid))
  }

  func isKnown(_ pid: Int32) -> Bool { processes[pid] != nil }

  /// The process of a thread, as far as it can be known: at least a pid.
  mutating func process(of thread: Int32) -> ProcessIdentity {
    let pid = processOfThread[thread] ?? thread
    if let known = processes[pid] { return known }
    if let found = look(pid) { return found }
    // Not a first thread, and made before we looked.
    if pid == thread, let owner = table.process(ofThread: thread), owner != thread {
      processOfThread[thread] = owner
      if let found = look(owner) { return found }
    }
    return ProcessIdentity(
      pid: pid, command: savedCommand(of: thread) ?? "", parent: parents[pid])
  }

  private mutating func look(_ pid: Int32) -> ProcessIdentity? {
    guard table.process(ofThread: pid) == pid, let identity = table.identity(pid) else {
      return nil
    }
    know(identity)
    return identity
  }

  /// `PID COMMAND` lines.
  private func savedCommand(of thread: Int32) -> String? {
    guard savedCommands >= 0, let text = TraceFile.text(savedCommands) else { return nil }
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      if parts.count == 2, Int32(parts[0]) == thread {
        let command = String(escapingControlsIn: parts[1].utf8)
        return command == "<...>" ? nil : command
      }
    }
    return nil
  }
}
