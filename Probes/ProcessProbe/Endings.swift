import CLinux
import Evidence
import Glibc
import LinuxHost

/// Clocks in nanoseconds.
enum Clock {
  static func monotonic() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// The time of day at a moment of the monotonic clock, as it is set now.
  static func realtime(_ monotonic: Int64) -> Timestamp {
    currentTime() - TimeSpan(nanoseconds: Self.monotonic() - monotonic)
  }
}

/// Processes that have ended, while the kernel is asked how.
///
/// Three sources tell the status: the process table while the process is a zombie (any kernel, to
/// who may trace it), its pidfd once the parent has taken the status (Linux 6.15), and the process
/// connector. On a kernel without the second, a parent that is quick leaves only the third.
struct Endings {
  private struct Ending {
    var owner: OwnerTable.Owner
    var seen: Int64
    var unseenSince: Int64
  }
  private var waiting: [Ending] = []
  private var noted: [Int32: Note] = [:]
  var lastLook: Int64 = .max
  private let canTrace = holdsPtraceCapability()

  /// What the connector told of a process.
  private struct Note {
    /// When the first thread ended of those that ended together, or began to write the core.
    var first: Int64
    var isDumping = false
    /// When its last one did, as far as is told.
    var last: Int64
    /// Of the last thread: in a group that was killed, or that exits as a whole, each has the group's.
    var status: WaitStatus?
  }

  /// Of all processes of the host, so many are remembered for whoever asks.
  private static let mostNoted = 8192

  var isWaiting: Bool { !waiting.isEmpty }
  /// Whether a thread of it ended lately.
  func hasNote(of pid: Int32) -> Bool { noted[pid] != nil }

  mutating func note(_ exit: ExitConnector.Exit) {
    if noted.count >= Self.mostNoted { noted = [:] }
    var note = noted[exit.pid] ?? Note(first: exit.monotonic, last: exit.monotonic)
    // Threads come and go in a process that lives on.
    if exit.monotonic - note.last > 1_000_000_000, !note.isDumping { note.first = exit.monotonic }
    note.isDumping = exit.status == nil
    note.last = max(note.last, exit.monotonic)
    note.first = min(note.first, exit.monotonic)
    note.status = exit.status ?? note.status
    noted[exit.pid] = note
  }

  mutating func add(_ owner: OwnerTable.Owner, now: Int64, unseenSince: Int64) {
    guard !waiting.contains(where: { $0.owner.identity.pid == owner.identity.pid }) else { return }
    waiting.append(Ending(owner: owner, seen: now, unseenSince: unseenSince))
  }

  struct Ended {
    var exit: ProcessExit
    var time: TimeEstimate
    var isOwner: Bool
  }

  /// Those whose status is known, or was waited for in vain.
  mutating func take(now: Int64, hasConnector: Bool, _ table: ProcTable) -> [Ended] {
    var ended: [Ended] = []
    var still: [Ending] = []
    for ending in waiting {
      let identity = ending.owner.identity
      let status = status(of: ending.owner, table) ?? noted[identity.pid]?.status
      // The connector tells of the last thread a moment after the process is seen to have ended.
      let note = noted[identity.pid].flatMap { $0.last >= ending.unseenSince ? $0 : nil }
      let patience: Int64 =
        status == nil ? (hasConnector ? 200_000_000 : 1_000_000_000) : hasConnector ? 20_000_000 : 0
      guard status != nil && note != nil || now - ending.seen >= patience else {
        still.append(ending)
        continue
      }
      noted[identity.pid] = nil
      if ending.owner.descriptor >= 0 { close(ending.owner.descriptor) }
      let exit = ProcessExit(process: identity, code: status?.code, signal: status?.signal)
      ended.append(
        Ended(exit: exit, time: Self.time(ending, note), isOwner: ending.owner.isOwner))
    }
    waiting = still
    return ended
  }

  /// When it ended: from the moment at which the kernel may have begun to take it apart, and to close
  /// what it held, to the moment at which it was gone.
  private static func time(_ ending: Ending, _ note: Note?) -> TimeEstimate {
    let end = note?.last ?? ending.seen
    let start = min(
      note?.first ?? ending.unseenSince, end - teardown(resident: ending.owner.resident))
    return TimeEstimate(
      best: Clock.realtime(end), earliest: Clock.realtime(start), latest: Clock.realtime(end))
  }

  /// How long the kernel may take, in nanoseconds: 2 ms for a process of 50 MiB, 90 ms for one of 3
  /// GiB were measured on an idle host; twice that, and what a busy one adds (38 ms were seen).
  static func teardown(resident: UInt64) -> Int64 {
    50_000_000 + Int64(clamping: min(resident >> 20, 1 << 15)) * 60_000
  }

  private func status(of owner: OwnerTable.Owner, _ table: ProcTable) -> WaitStatus? {
    var raw: Int32 = 0
    if owner.descriptor >= 0, clinux_pidfd_exit_status(owner.descriptor, &raw) == 0 {
      return WaitStatus(raw: raw)
    }
    guard let stat = table.stat(owner.identity.pid), stat.startTicks == owner.identity.startTicks,
      stat.state == UInt8(ascii: "Z") || stat.state == UInt8(ascii: "X")
    else { return nil }
    // To a reader without the right to trace it, the kernel says 0.
    guard stat.exitStatus != 0 || canTrace else { return nil }
    return WaitStatus(raw: stat.exitStatus)
  }
}

/// Whether the calling thread may trace every process (CAP_SYS_PTRACE).
private func holdsPtraceCapability() -> Bool {
  var header = __user_cap_header_struct(version: UInt32(_LINUX_CAPABILITY_VERSION_3), pid: 0)
  var data = [__user_cap_data_struct](repeating: __user_cap_data_struct(), count: 2)
  guard clinux_capget_self(&header, &data) == 0 else { return false }
  return data[0].effective & 1 << UInt32(CAP_SYS_PTRACE) != 0
}
