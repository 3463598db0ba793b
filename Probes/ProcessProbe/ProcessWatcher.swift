import CLinux
import Evidence
import Glibc
import LinuxHost

/// The process probe's thread.
struct ProcessWatcher {
  let host: String
  let table: ProcTable
  let inbox: Inbox
  let connector: ExitConnector?
  let sink: ObservationSink

  private var owners = OwnerTable()
  private var endings = Endings()
  /// Processes near an owner that were looked at: its siblings and children.
  private var relatives: Set<Int32> = []
  private var nextNearSearch: Int64 = 0
  /// Something was asked for since the last search near the owners; another would find no more.
  private var hasNews = false
  private var nextWholeSearch: Int64 = 0
  private var nextFamilyLook: Int64 = 0
  private var nextCount: Int64 = 0
  /// Processes whose descriptors the last whole search could not read.
  private var denied: [Int32] = []
  private var descriptors = DescriptorBooks()
  private var toldDenial = false
  private static let mostMeasured = 256
  private var counters = Counters(source: "processes", seen: 0, lost: 0)
  private var counted = Counters(source: "processes", seen: 0, lost: 0)

  init(
    host: String, table: ProcTable, inbox: Inbox, connector: ExitConnector?,
    sink: @escaping ObservationSink
  ) {
    self.host = host
    self.table = table
    self.inbox = inbox
    self.connector = connector
    self.sink = sink
  }

  mutating func run(_ thread: ProbeThread) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)
    defer { buffer.deallocate() }
    defer { owners.closeAll() }
    let fixed = [inbox.descriptor, connector?.descriptor ?? -1]
    while !thread.shouldStop {
      let watched = owners.owners.values.map(\.descriptor)
      let before = Clock.monotonic()
      let ready = thread.waitReadable(
        fixed + watched.filter { $0 >= 0 }, milliseconds: pause(from: before))
      let now = Clock.monotonic()
      // An exit that woke this thread is of this moment; one that found it busy may be older.
      let unseenSince = now - before > 1_000_000 ? now - 1_000_000 : endings.lastLook
      takeExits(ready, buffer, now: now, unseenSince: min(unseenSince, now))
      for process in inbox.takeEnding() { expectEnd(of: process, now: now) }
      for inode in takeInbox() {
        if owners.want(inode) { hasNews = true } else { counters.lost += 1 }
      }
      search(now)
      if now >= nextCount {
        nextCount = now + 1_000_000_000
        owners.measure(owners.owners.keys.prefix(Self.mostMeasured), table)
        for use in descriptors.look(at: owners.owners.values.map(\.identity), table) {
          emit(.descriptors(use), at: TimeEstimate(exactly: currentTime()))
        }
        count()
      }
    }
    tellEnded(endings.take(now: .max, hasConnector: false, table))
    count()
  }

  /// Until when there is nothing to do, in milliseconds.
  private func pause(from now: Int64) -> Int32 {
    if endings.isWaiting { return 10 }
    var due = nextFamilyLook
    if owners.sought > 0 {
      due = min(due, nextWholeSearch)
      if hasNews, !owners.owners.isEmpty { due = min(due, nextNearSearch) }
    }
    return Int32(clamping: max(0, min(500, (due - now) / 1_000_000 + 1)))
  }

  private mutating func takeInbox() -> [UInt64] {
    let (inodes, refused) = inbox.take()
    if refused > 0 { counters.details["refused"] = refused }
    return inodes
  }

  // MARK: Finding

  /// Looks near the known owners first, since a new flow is mostly a new descriptor of one of them,
  /// and through the whole table only for what stays unknown. Each search is followed by a pause
  /// that is a multiple of what it took.
  private mutating func search(_ now: Int64) {
    if hasNews, owners.sought > 0, now >= nextNearSearch, !owners.owners.isEmpty {
      hasNews = false
      let family = family()
      for pid in family { look(at: pid) }
      owners.dropClosed()
      relatives = family
      nextNearSearch = Clock.monotonic() + max(10_000_000, (Clock.monotonic() - now) * 19)
      counters.details["near searches", default: 0] += 1
    }
    if owners.sought > 0, now >= nextWholeSearch {
      let start = Clock.monotonic()
      let own = getpid()
      denied = []
      for pid in table.processes() where pid != own { look(at: pid) }
      owners.giveUp()
      let end = Clock.monotonic()
      nextWholeSearch = end + max(500_000_000, (end - start) * 49)
      counters.details["whole searches", default: 0] += 1
      // One process that may not be looked at (another user namespace's) hides nothing when the
      // owners of others were found.
      if !denied.isEmpty, owners.sought > 0, owners.owners.isEmpty { tellDenial() }
    }
    if now >= nextFamilyLook {
      // A worker that was just forked holds its master's listener.
      let family = family()
      for pid in family where !relatives.contains(pid) { look(at: pid) }
      relatives = family
      nextFamilyLook = Clock.monotonic() + 500_000_000
    }
  }

  /// The owners, their children and their siblings.
  private func family() -> Set<Int32> {
    var family = Set(owners.owners.keys)
    var parents = family
    for owner in owners.owners.values {
      // Everything is init's child in the end.
      if let parent = owner.identity.parent, parent > 1 { parents.insert(parent) }
    }
    let own = getpid()
    for parent in parents where parent != own { family.formUnion(table.children(parent)) }
    family.remove(own)
    return family
  }

  private mutating func look(at pid: Int32) {
    var held: Set<UInt64> = []
    let access = table.forEachSocket(of: pid) { inode in
      if owners.isWanted(inode) { held.insert(inode) }
    }
    if access == .denied, denied.count < 4096 { denied.append(pid) }
    guard access == .allowed else { return }
    if held.isEmpty, owners.owners[pid] == nil { return }
    let table = table
    if let sighting = owners.update(pid, holding: held, { table.identity(pid) }) {
      counters.seen += 1
      emit(.process(sighting), at: TimeEstimate(exactly: currentTime()))
    }
  }

  // MARK: Ends

  private mutating func takeExits(
    _ ready: Set<Int32>, _ buffer: UnsafeMutableRawBufferPointer, now: Int64, unseenSince: Int64
  ) {
    if let connector, ready.contains(connector.descriptor) || endings.isWaiting {
      var exits: [ExitConnector.Exit] = []
      let gaps = connector.drain(buffer) { exits.append($0) }
      for exit in exits { endings.note(exit) }
      if gaps > 0 { counters.details["connector overruns", default: 0] += gaps }
    }
    for (pid, owner) in owners.owners
    where owner.descriptor >= 0 && ready.contains(owner.descriptor) {
      if let gone = owners.remove(pid) {
        endings.add(gone, now: now, unseenSince: unseenSince)
      }
    }
    // Without a descriptor, the connector alone tells.
    for (pid, owner) in owners.owners
    where owner.descriptor == -1 && endings.hasNote(of: pid) && !table.lives(owner.identity) {
      if let gone = owners.remove(pid) {
        endings.add(gone, now: now, unseenSince: unseenSince)
      }
    }
    tellEnded(endings.take(now: now, hasConnector: connector != nil, table))
    endings.lastLook = now
  }

  /// A process was seen to end that holds nothing that was asked for: it was too quick to be found.
  private mutating func expectEnd(of process: ProcessIdentity, now: Int64) {
    guard connector != nil, owners.owners[process.pid] == nil else { return }
    endings.add(
      OwnerTable.Owner(identity: process, descriptor: -1, inodes: [], isOwner: false), now: now,
      unseenSince: now - 1_000_000_000)
  }

  private mutating func tellEnded(_ all: [Endings.Ended]) {
    for ended in all {
      // Asked for by who saw it end, and could not be told how: there is nothing to add.
      if !ended.isOwner, ended.exit.code == nil, ended.exit.signal == nil { continue }
      counters.seen += 1
      counters.details["exits", default: 0] += 1
      if ended.exit.code == nil, ended.exit.signal == nil {
        counters.details["exits without status", default: 0] += 1
      }
      emit(.processExit(ended.exit), at: ended.time)
    }
  }

  // MARK: Telling

  private mutating func tellDenial() {
    guard !toldDenial else { return }
    toldDenial = true
    emit(
      .blindSpot(
        BlindSpot(
          id: "process-owners",
          what: "the descriptors of \(deniedNames) may not be read",
          cost: "what they hold has no known owner: if one of them is killed, it may look like a "
            + "close by choice",
          remedy: "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")),
      at: TimeEstimate(exactly: currentTime()))
  }

  private var deniedNames: String {
    let names = denied.prefix(3).map { pid in
      "pid \(pid)" + (table.stat(pid).map { " (\($0.command))" } ?? "")
    }.joined(separator: ", ")
    return denied.count > 3 ? "\(names) and \(denied.count - 3) others" : names
  }

  private mutating func count() {
    counters.details["owners"] = UInt64(owners.owners.count)
    counters.details["not found"] = owners.given
    guard counters != counted else { return }
    counted = counters
    emit(.counters(counters), at: TimeEstimate(exactly: currentTime()))
  }

  private func emit(_ fact: Observation.Fact, at time: TimeEstimate) {
    sink(Observation(host: host, time: time, fact: fact))
  }
}
