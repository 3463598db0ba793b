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
  private var unixTables: [UInt64: UnixTable] = [:]
  private var unixWatch = UnixWatch([])
  private var hostCounters: HostCounters
  private var toldCounters: [String: UInt64]?
  /// A process in each namespace, to read its counters through.
  private var processOf: [UInt64: String] = [:]
  /// When the deaths were last read.
  private var lastDrain = currentTime()
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
    hostCounters = HostCounters(proc: finder.proc)
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
    var watched = Watch([])
    var rest = pause
    repeat {
      let began = Self.time(CLOCK_THREAD_CPUTIME_ID)
      let now = Self.time(CLOCK_MONOTONIC)
      let current = watch()
      let isChanged = current != watched
      watched = current
      if isChanged {
        for namespace in namespaces { namespace.deaths?.filter(ports: watched.ports) }
      }
      if now >= nextRefresh {
        nextRefresh = now + 3_000_000_000
        refreshNamespaces(watched.ports)
        unixWatch = UnixWatch(watched.paths)
        for index in namespaces.indices { namespaces[index].refreshAddresses(buffer) }
      }
      let request = SocketDump.request(ports: watched.ports)
      for namespace in namespaces
      where round % Self.quietRounds == 0 || isChanged || busy.contains(namespace.inode) {
        if watched.ports.isEmpty, watched.paths.isEmpty {
          table.forget(namespace: namespace.inode)
        } else {
          look(into: namespace, request, watched, buffer)
        }
      }
      if now >= nextCount {
        nextCount = now + 1_000_000_000
        countHost()
        count()
      }
      round += 1
      // The kernel walks its whole table for a dump, which takes milliseconds where thousands of
      // connections come and go: at most a hundredth of a core goes into that.
      let used = Self.time(CLOCK_THREAD_CPUTIME_ID) - began
      rest = max(pause, Int32(clamping: min(used * 99 / 1_000_000, 1_000)))
    } while listen(thread, milliseconds: rest, watched, buffer)
    countHost()
    count()
  }

  /// Hears of sockets that end, until it is time to look again.
  /// - Returns: whether to go on.
  private mutating func listen(
    _ thread: ProbeThread, milliseconds: Int32, _ watched: Watch,
    _ buffer: UnsafeMutableRawBufferPointer
  ) -> Bool {
    let end = Self.time(CLOCK_MONOTONIC) / 1_000_000 + Int64(milliseconds)
    let listeners = namespaces.compactMap { namespace in
      namespace.deaths.map { (namespace.inode, $0) }
    }
    while !thread.shouldStop {
      let left = end - Self.time(CLOCK_MONOTONIC) / 1_000_000
      if left <= 0 { break }
      let ready = thread.waitReadable(
        listeners.map(\.1.descriptor), milliseconds: Int32(clamping: left))
      for (inode, listener) in listeners where ready.contains(listener.descriptor) {
        drain(listener, in: inode, watched, buffer)
      }
      lastDrain = currentTime()
      // Many end together: take them together.
      if !ready.isEmpty, !thread.sleep(milliseconds: 5) { break }
    }
    return !thread.shouldStop
  }

  private mutating func drain(
    _ listener: DeathListener, in inode: UInt64, _ watched: Watch,
    _ buffer: UnsafeMutableRawBufferPointer
  ) {
    let (host, sink, before) = (host, sink, lastDrain)
    var count: UInt64 = 0
    let gaps = listener.drain(buffer) { ended in
      guard let death = watched.death(ended, in: inode) else { return }
      count += 1
      let now = currentTime()
      sink(
        Observation(
          host: host, time: TimeEstimate(best: now, earliest: before, latest: now),
          fact: .socketDeath(death)))
    }
    counters.seen += count
    counters.details["deaths", default: 0] += count
    if gaps > 0 { counters.details["death overruns", default: 0] += gaps }
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
      // Without a port to filter by it would be every socket there is.
      if !watched.ports.isEmpty {
        try namespace.forEachSocket(request, ports: watched.ports, buffer) { socket in
          if let sighting = watched.sighting(of: socket, in: namespace) {
            sightings.append(sighting)
          }
        }
      }
    } catch {
      // The process through which a namespace is looked into may end: another is found soon.
      if case .netlink = namespace.source, let error = error as? ProbeError {
        tell(SocketProbe.blindSpot(error))
      }
      return
    }
    let unix = watched.paths.isEmpty ? [] : lookAtUnix(namespace, buffer)
    let time = currentTime()
    counters.details["dumps", default: 0] += 1
    for sighting in unix {
      counters.seen += 1
      let when = TimeEstimate(best: time, earliest: before, latest: time)
      sink(Observation(host: host, time: when, fact: .unixSocket(sighting)))
    }
    if sightings.isEmpty, unixTables[namespace.inode] == nil {
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

  private mutating func lookAtUnix(
    _ namespace: NetworkNamespace, _ buffer: UnsafeMutableRawBufferPointer
  ) -> [UnixSocketSighting] {
    let sightings = unixWatch.sightings(
      of: namespace.unixSockets(buffer), namespace: namespace.inode == 0 ? nil : namespace.inode)
    if sightings.isEmpty {
      unixTables[namespace.inode] = nil
      return []
    }
    return unixTables[namespace.inode, default: UnixTable()].update(with: sightings)
  }

  /// Opens namespaces that are new, and lets go of those without a process: a socket of ours would
  /// keep them, and their interfaces, alive.
  private mutating func refreshNamespaces(_ ports: Set<UInt16>) {
    let found = finder.find()
    processOf = found
    if round == 0 { return }
    // Without any, the process table cannot be read: keep what there is.
    guard !found.isEmpty else { return }
    for namespace in namespaces where namespace.inode != own && found[namespace.inode] == nil {
      table.forget(namespace: namespace.inode)
      unixTables[namespace.inode] = nil
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
      guard let opened = finder.openOrView(inode, ofProcess: pid, ports: ports) else { continue }
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

  /// What the kernel counted in the own namespace, and where there are watched sockets.
  private mutating func countHost() {
    var wanted = processOf.filter { busy.contains($0.key) }
    wanted[own] = "thread-self"
    let read = hostCounters.read(wanted)
    guard read != toldCounters else { return }
    toldCounters = read
    emit(.counters(Counters(source: "network", seen: 0, lost: 0, details: read)))
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
