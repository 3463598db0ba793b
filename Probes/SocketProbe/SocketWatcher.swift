import Evidence
import Glibc
import LinuxHost

/// The socket probe's thread.
struct SocketWatcher {
  let host: String
  private var namespaces: [NetworkNamespace]
  private let own: UInt64
  private let finder: NamespaceFinder
  private let maximumNamespaces: Int
  private let sink: ObservationSink

  private var table = SocketTable(limit: 65_536)
  private var round: UInt64 = 0
  /// Namespaces in which the last dump found something.
  private var busy: Set<UInt64> = []
  private var toldSpots: Set<String> = []
  private var counters = Counters(source: "sockets", seen: 0, lost: 0)
  private var counted = Counters(source: "sockets", seen: 0, lost: 0)

  /// A quiet namespace is looked at in every so many rounds.
  private static let quietRounds: UInt64 = 8

  init(
    host: String, namespaces: [NetworkNamespace], finder: NamespaceFinder, maximumNamespaces: Int,
    blindSpot: BlindSpot?, sink: @escaping ObservationSink
  ) {
    self.host = host
    self.namespaces = namespaces
    own = namespaces.first?.inode ?? 0
    self.finder = finder
    self.maximumNamespaces = maximumNamespaces
    self.sink = sink
    if let blindSpot { tell(blindSpot) }
  }

  mutating func run(_ thread: ProbeThread, interval: TimeSpan, _ watch: () -> Watch) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)
    defer { buffer.deallocate() }
    let pause = Int32(clamping: interval.nanoseconds / 1_000_000)
    // By the clock, since a round may be stretched.
    var nextRefresh = Int64.min
    var nextCount = Int64.min
    var watched = watch()
    var rest = pause
    repeat {
      let began = Self.time(CLOCK_THREAD_CPUTIME_ID)
      let now = Self.time(CLOCK_MONOTONIC)
      let current = watch()
      let isChanged = current != watched
      watched = current
      if now >= nextRefresh {
        nextRefresh = now + 3_000_000_000
        if round > 0 { refreshNamespaces() }
        for index in namespaces.indices { namespaces[index].refreshAddresses(buffer) }
      }
      let request = SocketDump.request(ports: watched.ports)
      for namespace in namespaces
      where round % Self.quietRounds == 0 || isChanged || busy.contains(namespace.inode) {
        if watched.ports.isEmpty {
          table.forget(namespace: namespace.inode)
        } else {
          look(into: namespace, request, watched, buffer)
        }
      }
      if now >= nextCount {
        nextCount = now + 1_000_000_000
        count()
      }
      round += 1
      // The kernel walks its whole table for a dump, which takes milliseconds where thousands of
      // connections come and go: at most a hundredth of a core goes into that.
      let used = Self.time(CLOCK_THREAD_CPUTIME_ID) - began
      rest = max(pause, Int32(clamping: min(used * 99 / 1_000_000, 1_000)))
    } while thread.sleep(milliseconds: rest)
    count()
  }

  /// A clock's time in nanoseconds.
  private static func time(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  private mutating func look(
    into namespace: NetworkNamespace, _ request: [UInt8], _ watched: Watch,
    _ buffer: UnsafeMutableRawBufferPointer
  ) {
    let before = currentTime()
    var sightings: [SocketSighting] = []
    do {
      try namespace.forEachSocket(request, ports: watched.ports, buffer) { socket in
        if let sighting = watched.sighting(of: socket, in: namespace) { sightings.append(sighting) }
      }
    } catch {
      // The process through which a namespace is looked into may end: another is found soon.
      if case .netlink = namespace.source, let error = error as? ProbeError {
        tell(SocketProbe.blindSpot(error))
      }
      return
    }
    let time = currentTime()
    counters.details["dumps", default: 0] += 1
    if sightings.isEmpty {
      busy.remove(namespace.inode)
    } else {
      busy.insert(namespace.inode)
    }
    let news = table.update(namespace: namespace.inode, round: round, with: sightings)
    counters.seen += UInt64(news.count)
    for sighting in news {
      let when = TimeEstimate(best: time, earliest: before, latest: time)
      sink(Observation(host: host, time: when, fact: .socket(sighting)))
    }
  }

  /// Opens namespaces that are new, and lets go of those without a process: a socket of ours would
  /// keep them, and their interfaces, alive.
  private mutating func refreshNamespaces() {
    let found = finder.find()
    // Without any, the process table cannot be read: keep what there is.
    guard !found.isEmpty else { return }
    for namespace in namespaces where namespace.inode != own && found[namespace.inode] == nil {
      table.forget(namespace: namespace.inode)
      busy.remove(namespace.inode)
    }
    namespaces.removeAll { $0.inode != own && found[$0.inode] == nil }
    for index in namespaces.indices {
      // Look through a process that lives.
      if case .process = namespaces[index].source, let pid = found[namespaces[index].inode] {
        namespaces[index].source = .process(finder.view(ofProcess: pid))
      }
    }
    let known = Set(namespaces.map(\.inode))
    var refused = 0
    for (inode, pid) in found where !known.contains(inode) {
      guard namespaces.count < maximumNamespaces else {
        refused += 1
        continue
      }
      guard let opened = finder.openOrView(inode, ofProcess: pid) else { continue }
      namespaces.append(opened)
      // So that it is looked at now, and not when its turn comes.
      busy.insert(inode)
    }
    if refused > 0 { tell(SocketProbe.namespaceBlindSpot(refused)) }
  }

  private mutating func tell(_ spot: BlindSpot) {
    guard toldSpots.insert(spot.id).inserted else { return }
    emit(.blindSpot(spot))
  }

  private mutating func count() {
    counters.lost = table.overflow
    counters.details["namespaces"] = UInt64(namespaces.count)
    counters.details["open"] = UInt64(table.count)
    var quiet = counted
    quiet.details["dumps"] = counters.details["dumps"]
    guard counters != quiet else { return }
    counted = counters
    emit(.counters(counters))
  }

  private func emit(_ fact: Observation.Fact) {
    sink(Observation(host: host, time: TimeEstimate(exactly: currentTime()), fact: fact))
  }
}
