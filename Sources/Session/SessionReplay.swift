public import CaptureFile
public import Evidence

/// Plays sessions back: what was observed, and up to when all was in, as the correlator heard it while
/// they were recorded. Several sessions, of several hosts, become one in the order of time.
public final class SessionReplay {
  public enum Step: Sendable {
    case observe(Observation)
    case advance(Timestamp)
  }

  private var lanes: [SessionLane]
  private let rewriters: [LaneRewriter]
  private var duplicates = SightingFilter()
  private var waiting: [Step] = []
  private var advanced = Timestamp(nanoseconds: .min)
  private var isFinished = false

  /// - Parameter files: of any sessions, in any order.
  public init(_ files: [SessionFile]) {
    let sessions = Dictionary(grouping: files, by: \.session).values
      .map { $0.sorted { $0.firstSequence < $1.firstSequence } }
      .sorted { Self.rank($0) < Self.rank($1) }
    lanes = sessions.map { SessionLane(SessionStream($0)) }
    let hosts = sessions.map { $0.first?.host ?? "" }
    let names = hosts.enumerated().filter { hosts.firstIndex(of: $1) == $0 }.map(\.element)
    let hasNginx = sessions.map { $0.contains(where: \.hasErrors) }
    rewriters = hosts.enumerated().map { index, host in
      LaneRewriter(
        lane: UInt64(index), hostIndex: UInt64(names.firstIndex(of: host) ?? 0), host: host,
        isFirstHost: host == names.first,
        tellsConnections: hasNginx[index] || !hasNginx.contains(true))
    }
  }

  /// Those with an nginx first: theirs are the errors, and the books.
  private static func rank(_ files: [SessionFile]) -> (Int, Int64, String) {
    (
      files.contains(where: \.hasErrors) ? 0 : 1, files.first?.info?.started.nanoseconds ?? 0,
      files.first?.session ?? ""
    )
  }

  /// The next step; nil when all was played.
  public func next() -> Step? {
    while waiting.isEmpty {
      guard !isFinished else { return nil }
      if lanes.count == 1 { playOne() } else { playMerged() }
    }
    return waiting.removeFirst()
  }

  /// One session is played exactly as it was recorded.
  private func playOne() {
    guard let segment = lanes[0].take() else {
      isFinished = true
      return
    }
    waiting += segment.observations.map(Step.observe)
    if let watermark = segment.watermark { waiting.append(.advance(watermark)) }
  }

  /// The session that is behind goes first. Up to when all is in, the one that is furthest behind
  /// decides; one that has ended, or was cut short, holds nobody up.
  private func playMerged() {
    var chosen: Int?
    var earliest = Timestamp(nanoseconds: .max)
    for index in lanes.indices {
      guard let next = lanes[index].nextWatermark else { continue }
      if chosen == nil || next < earliest { (chosen, earliest) = (index, next) }
    }
    guard let chosen, let segment = lanes[chosen].take() else {
      isFinished = true
      return
    }
    for observation in segment.observations {
      guard let own = rewriters[chosen].rewrite(observation),
        !duplicates.isRepeated(own, lane: chosen)
      else { continue }
      waiting.append(.observe(own))
    }
    // When all have ended, all is in up to the last watermark of any.
    let floor = lanes.compactMap(\.floor).min() ?? lanes.compactMap(\.current).max()
    if let floor, floor > advanced {
      advanced = floor
      waiting.append(.advance(floor))
    }
  }

  // MARK: What the files lack

  /// What could not be read, once all was played.
  public var errors: [CaptureError] { lanes.flatMap(\.stream.errors) }

  /// What the recordings lack, as the report is to say it.
  /// - Parameter files: as they were given.
  public static func blindSpots(of files: [SessionFile]) -> [BlindSpot] {
    var spots: [BlindSpot] = []
    for (_, files) in Dictionary(grouping: files, by: \.session).sorted(by: { $0.key < $1.key }) {
      guard let last = files.max(by: { $0.lastSequence < $1.lastSequence }) else { continue }
      if !last.isEnded {
        spots.append(
          BlindSpot(
            id: "recording-cut",
            what: "the recording on \(last.host) was cut short (\(last.path))",
            cost: "what came after its last entry is not known"))
      }
      if let progress = last.progress, progress.lostObservations > 0 {
        spots.append(
          BlindSpot(
            id: "recording-lost",
            what: "the recording on \(last.host) lost \(progress.lostObservations) observations",
            cost: "verdicts may differ from those of the live session",
            remedy: "record to a faster disk"))
      }
    }
    return spots
  }

  /// What was found missing, or was not understood, while it was played.
  public var playedBlindSpots: [BlindSpot] {
    lanes.flatMap { lane -> [BlindSpot] in
      var spots: [BlindSpot] = []
      if lane.stream.missing > 0 {
        spots.append(
          BlindSpot(
            id: "recording-missing",
            what: "\(lane.stream.missing) entries of the recording on \(lane.stream.host) are in "
              + "none of the files",
            cost: "verdicts may differ from those of the live session",
            remedy: "give every file of the session"))
      }
      if lane.stream.unknown > 0 {
        spots.append(
          BlindSpot(
            id: "recording-unknown",
            what: "\(lane.stream.unknown) entries of the recording on \(lane.stream.host) were not "
              + "understood",
            cost: "what they say is not known", remedy: "replay it with a newer upclose"))
      }
      return spots
    }
  }
}

/// One session on its way into a replay: what was observed between two watermarks is one segment.
struct SessionLane {
  struct Segment {
    var observations: [Observation] = []
    /// Nil at the end.
    var watermark: Timestamp?
  }

  let stream: SessionStream
  private var ahead: [Segment] = []
  /// Its last watermark so far.
  private(set) var current: Timestamp?
  private var isAtEnd = false
  /// A session that starts later than others holds them up no longer than its first observations reach
  /// back.
  private static let reach = TimeSpan.seconds(2)

  init(_ stream: SessionStream) {
    self.stream = stream
    fill()
  }

  /// When its next segment ends; what follows the last watermark comes at once. Nil at the end.
  var nextWatermark: Timestamp? {
    ahead.first.map { $0.watermark ?? current ?? Timestamp(nanoseconds: .min) }
  }

  /// Up to when all of it is in; nil when it has ended.
  var floor: Timestamp? {
    guard let next = nextWatermark else { return nil }
    return current ?? next - Self.reach
  }

  mutating func take() -> Segment? {
    guard !ahead.isEmpty else { return nil }
    let segment = ahead.removeFirst()
    if let watermark = segment.watermark { current = watermark }
    if ahead.isEmpty { fill() }
    return segment
  }

  private mutating func fill() {
    guard !isAtEnd else { return }
    var segment = Segment()
    while let entry = stream.next() {
      switch entry.record {
      case .observation(let observation): segment.observations.append(observation)
      case .advance(let times):
        for time in times {
          segment.watermark = time
          ahead.append(segment)
          segment = Segment()
        }
        if !times.isEmpty { return }
      case .recording, .incident, .progress, .end: break
      }
    }
    isAtEnd = true
    if !segment.observations.isEmpty { ahead.append(segment) }
  }
}
