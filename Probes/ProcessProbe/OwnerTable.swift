import CLinux
import Evidence
import Glibc
import LinuxHost

/// The processes that hold sockets asked for, and the sockets whose holder is still sought.
struct OwnerTable {
  struct Owner {
    var identity: ProcessIdentity
    /// A pidfd; -1 when there can be no more of them.
    var descriptor: Int32
    /// Sockets of this process that were told and are still open.
    var inodes: Set<UInt64>
    /// Bytes in memory when it was last looked at.
    var resident: UInt64 = 0
    /// False: only its end was asked for.
    var isOwner = true
  }

  private(set) var owners: [Int32: Owner] = [:]
  /// Sockets asked for: whether a holder was found, and how many whole searches failed.
  private var wanted: [UInt64: (isFound: Bool, failures: Int)] = [:]
  private(set) var sought = 0
  /// Asked for, and gone before their holder was found (or held by one that may not be looked at).
  private(set) var given: UInt64 = 0

  /// After so many whole searches a socket is given up: it was closed, or is out of reach.
  private static let searches = 3
  private static let mostWanted = 1 << 18
  private static let mostOwners = 4096
  /// Descriptors are left to the rest of the program.
  private let mostDescriptors: Int

  init() {
    var limit = rlimit()
    let isKnown = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
    mostDescriptors = isKnown ? Int(clamping: limit.rlim_cur / 4) : 256
  }

  mutating func want(_ inode: UInt64) -> Bool {
    if wanted[inode] != nil { return true }
    guard wanted.count < Self.mostWanted else { return false }
    wanted[inode] = (false, 0)
    sought += 1
    return true
  }

  func isWanted(_ inode: UInt64) -> Bool { wanted[inode] != nil }

  /// Notes the wanted sockets that a process holds now.
  /// - Parameter process: who it is; asked for only when there is something to tell.
  /// - Returns: what is to be told.
  mutating func update(
    _ pid: Int32, holding held: Set<UInt64>, _ process: () -> ProcessIdentity?
  ) -> ProcessSighting? {
    let known = owners[pid]
    let new = held.subtracting(known?.inodes ?? [])
    if new.isEmpty {
      owners[pid]?.inodes = held
      return nil
    }
    var owner: Owner
    if let known {
      owner = known
      // It may have executed another program since.
      if let current = process(), current.startTicks == known.identity.startTicks {
        owner.identity = current
      }
    } else {
      guard owners.count < Self.mostOwners else { return nil }
      // The descriptor comes first, so that it and the identity are of one process.
      let watched = owners.values.count { $0.descriptor >= 0 }
      let descriptor = watched < mostDescriptors ? clinux_pidfd_open(pid) : -1
      guard let identity = process() else {
        if descriptor >= 0 { close(descriptor) }
        return nil
      }
      owner = Owner(identity: identity, descriptor: descriptor, inodes: [])
    }
    owner.inodes = held
    owners[pid] = owner
    for inode in new where wanted[inode]?.isFound == false {
      wanted[inode] = (true, 0)
      sought -= 1
    }
    return ProcessSighting(process: owner.identity, inodes: new.sorted())
  }

  /// After a look at all owners: what none of them holds any more was closed.
  mutating func dropClosed() {
    var open: Set<UInt64> = []
    for owner in owners.values { open.formUnion(owner.inodes) }
    wanted = wanted.filter { !$0.value.isFound || open.contains($0.key) }
  }

  /// After a search of the whole process table: what was not found in several is given up.
  mutating func giveUp() {
    for (inode, want) in wanted where !want.isFound {
      if want.failures + 1 >= Self.searches {
        wanted[inode] = nil
        sought -= 1
        given += 1
      } else {
        wanted[inode] = (false, want.failures + 1)
      }
    }
  }

  /// Looks at the memory of some, as the descriptors are.
  mutating func measure(_ pids: some Sequence<Int32>, _ table: ProcTable) {
    for pid in pids {
      if let bytes = table.residentBytes(of: pid) { owners[pid]?.resident = bytes }
    }
  }

  mutating func remove(_ pid: Int32) -> Owner? {
    guard let owner = owners.removeValue(forKey: pid) else { return nil }
    return owner
  }

  mutating func closeAll() {
    for owner in owners.values where owner.descriptor >= 0 { close(owner.descriptor) }
    owners = [:]
  }
}
