import Evidence

/// What the backends wrote to their own logs, kept for as long as an error may need it.
struct BackendLog {
  struct Entry {
    var line: BackendLine
    var time: TimeEstimate
    /// How surely the line is about this upstream.
    var bearing: Bearing = .unknown
  }

  /// How a line is tied to the upstream of an error.
  enum Bearing: Int, Comparable {
    /// Nothing ties it to an upstream but its time: a log that was named without one.
    case unknown
    /// The log is this upstream's.
    case upstream
    /// It names a process behind the upstream's port, or the process that writes it is one.
    case process
    /// It names nginx's end of this very connection.
    case connection

    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  /// Whom an error is about.
  struct Subject {
    var upstream: UpstreamPeer?
    /// nginx's end of the connection.
    var client: Endpoint?
    /// Every process known behind the upstream.
    var pids: Set<Int32>
    /// Their systemd units.
    var units: Set<String> = []
  }

  private var entries: [Entry] = []
  /// A log of a backend is read, whether or not it says anything.
  private(set) var isWatching = false

  private static let limit = 20_000
  /// A master looks at its workers once a second, says that it lost patience, asks, and only then
  /// kills; it tells of the end when it has waited for it.
  private static let before = TimeSpan.seconds(5)
  private static let after = TimeSpan.seconds(5)

  mutating func observe(_ line: BackendLine, at time: TimeEstimate) {
    isWatching = true
    entries.append(Entry(line: line, time: time))
    if entries.count > Self.limit { entries.removeFirst(Self.limit / 2) }
  }

  mutating func noteWatched() { isWatching = true }

  /// The lines that may be about an error, the surest and then the nearest first.
  func lines(near moment: TimeEstimate, of subject: Subject) -> [Entry] {
    let near = entries.filter {
      $0.time.earliest <= moment.latest + Self.after
        && moment.earliest <= $0.time.latest + Self.before
    }
    let bearing = near.compactMap { entry -> Entry? in
      guard let bearing = Self.bearing(of: entry.line, on: subject) else { return nil }
      var entry = entry
      entry.bearing = bearing
      return entry
    }
    return bearing.enumerated().sorted { a, b in
      if a.element.bearing != b.element.bearing { return a.element.bearing > b.element.bearing }
      let distances = (
        a.element.time.distance(to: moment), b.element.time.distance(to: moment)
      )
      return distances.0 == distances.1 ? a.offset < b.offset : distances.0 < distances.1
    }.map(\.element)
  }

  /// Nil: the line is about something else.
  private static func bearing(of line: BackendLine, on subject: Subject) -> Bearing? {
    if let peer = line.peer, let client = subject.client, peer.port == client.port,
      peer.address == client.address
    {
      return .connection
    }
    if let pid = line.pid, subject.pids.contains(pid) { return .process }
    if let unit = line.unit, !subject.units.isEmpty {
      return subject.units.contains(unit) ? .process : nil
    }
    // A log that was found belongs to whoever held it.
    if let owner = line.owner {
      return subject.pids.contains(owner.pid) || owner.parent.map(subject.pids.contains) ?? false
        ? .process : nil
    }
    if let upstream = line.upstream { return upstream == subject.upstream ? .upstream : nil }
    return .unknown
  }
}
