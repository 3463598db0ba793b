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
  private var noted: [Int32: ExitConnector.Exit] = [:]
  var lastLook: Int64 = .max
  private let canTrace = holdsPtraceCapability()

  var isWaiting: Bool { !waiting.isEmpty }
  var notedPIDs: [Int32] { Array(noted.keys) }

  mutating func note(_ exit: ExitConnector.Exit) { noted[exit.pid] = exit }

  mutating func add(_ owner: OwnerTable.Owner, now: Int64, unseenSince: Int64) {
    waiting.append(Ending(owner: owner, seen: now, unseenSince: unseenSince))
  }

  struct Ended {
    var exit: ProcessExit
    var time: TimeEstimate
  }

  /// Those whose status is known, or was waited for in vain.
  mutating func take(now: Int64, hasConnector: Bool, _ table: ProcTable) -> [Ended] {
    var ended: [Ended] = []
    var still: [Ending] = []
    for ending in waiting {
      let identity = ending.owner.identity
      let note = noted[identity.pid]
      let status = status(of: ending.owner, table) ?? note?.status
      let patience: Int64 = hasConnector ? 200_000_000 : 1_000_000_000
      guard status != nil || now - ending.seen >= patience else {
        still.append(ending)
        continue
      }
      noted[identity.pid] = nil
      if ending.owner.descriptor >= 0 { close(ending.owner.descriptor) }
      let exit = ProcessExit(process: identity, code: status?.code, signal: status?.signal)
      let time =
        note.map { TimeEstimate(exactly: Clock.realtime($0.monotonic)) }
        ?? TimeEstimate(
          best: Clock.realtime(ending.seen), earliest: Clock.realtime(ending.unseenSince),
          latest: Clock.realtime(ending.seen))
      ended.append(Ended(exit: exit, time: time))
    }
    waiting = still
    if waiting.isEmpty, noted.count > 1024 { noted = [:] }
    return ended
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
