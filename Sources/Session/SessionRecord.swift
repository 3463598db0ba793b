public import Evidence

/// What a session's file holds beside packets, each in a journal entry of its own.
public enum SessionRecord: Hashable, Sendable {
  /// Who recorded: first in the file.
  case recording(RecordingInfo)
  case observation(Observation)
  /// The correlator was told, in this order, up to when all observations were in.
  case advance([Timestamp])
  /// What it said: for people and other programs, not for a replay.
  case incident(RecordedIncident)
  case progress(RecordingProgress)
  /// The recording ended as it should.
  case end(RecordingProgress)
}

/// An incident as it was told while the session was recorded.
public struct RecordedIncident: Hashable, Sendable {
  public var time: Timestamp
  /// One line for people.
  public var message: String
  /// The object that `--format ndjson` writes.
  public var json: String

  public init(time: Timestamp, message: String, json: String) {
    self.time = time
    self.message = message
    self.json = json
  }
}

/// A record in its place in a session.
public struct SessionEntry: Hashable, Sendable {
  public var session: String
  public var host: String
  /// From 1 within the session: two copies of an entry have the same.
  public var sequence: UInt64
  /// It stands in an earlier file of the same session as well: a file must be understood without those.
  public var isRepeated = false
  public var time: Timestamp
  public var record: SessionRecord

  public init(
    session: String, host: String, sequence: UInt64, time: Timestamp, record: SessionRecord
  ) {
    self.session = session
    self.host = host
    self.sequence = sequence
    self.time = time
    self.record = record
  }
}

extension SessionEntry {
  /// The names of the fields that are our own.
  enum Field {
    static let session = "UPCLOSE_SESSION"
    static let sequence = "UPCLOSE_SEQUENCE"
    static let repeated = "UPCLOSE_REPEATED"
    /// `i/n`: a text that is longer than an entry may be goes on in the next.
    static let part = "UPCLOSE_PART"
    static let recording = "UPCLOSE_RECORDING"
    static let observation = "UPCLOSE_OBSERVATION"
    static let advance = "UPCLOSE_ADVANCE"
    static let incident = "UPCLOSE_INCIDENT"
    static let progress = "UPCLOSE_PROGRESS"
    static let end = "UPCLOSE_END"
    static let all = [recording, observation, advance, incident, progress, end]
  }

  /// Wireshark reads no entry beyond 256 KiB.
  static let longest = 200_000

  /// As journal entries: one, unless it is too long for one.
  /// - Throws: `EncodingError` of an observation that cannot be encoded.
  func journal() throws -> [JournalEntry] {
    let (name, value) = try field
    var base = JournalEntry(fields: [
      ("__REALTIME_TIMESTAMP", String(max(0, time.nanoseconds / 1000))), ("_HOSTNAME", host),
      ("PRIORITY", String(priority)), ("SYSLOG_IDENTIFIER", "upclose"), ("MESSAGE", message),
      (Field.session, session), (Field.sequence, String(sequence)),
    ])
    if isRepeated { base.add(Field.repeated, "1") }
    let bytes = Array(value.utf8)
    guard bytes.count > Self.longest else {
      base.add(name, value)
      return [base]
    }
    var parts: [String] = []
    var start = 0
    while start < bytes.count {
      var end = min(start + Self.longest, bytes.count)
      // Not within a character.
      while end < bytes.count, bytes[end] & 0xc0 == 0x80 { end -= 1 }
      parts.append(String(decoding: bytes[start..<end], as: UTF8.self))
      start = end
    }
    return parts.enumerated().map { index, text in
      var entry = base
      entry.add(Field.part, "\(index + 1)/\(parts.count)")
      entry.add(name, text)
      return entry
    }
  }

  private var field: (name: String, value: String) {
    get throws {
      switch record {
      case .recording(let info): (Field.recording, try NodeEncoder.encode(info).text)
      case .observation(let observation):
        (Field.observation, try NodeEncoder.encode(observation).text)
      case .advance(let times): (Field.advance, Self.differences(times))
      case .incident(let incident): (Field.incident, incident.json)
      case .progress(let progress): (Field.progress, try NodeEncoder.encode(progress).text)
      case .end(let progress): (Field.end, try NodeEncoder.encode(progress).text)
      }
    }
  }

  /// The first in nanoseconds since the epoch, each other since the one before: there are twenty a
  /// second.
  private static func differences(_ times: [Timestamp]) -> String {
    var last: Int64 = 0
    let numbers = times.map { time in
      defer { last = time.nanoseconds }
      return String(time.nanoseconds &- last)
    }
    return "[" + numbers.joined(separator: ",") + "]"
  }

  /// For syslog's eyes: 3 error, 4 warning, 5 notice, 6 information, 7 debug.
  private var priority: Int {
    switch record {
    case .recording, .end: 5
    case .incident: 4
    case .advance, .progress: 7
    case .observation(let observation): ObservationText.priority(observation.fact)
    }
  }

  private var message: String {
    switch record {
    case .recording(let info):
      "recording by \(info.recorder) on \(info.host): \(info.arguments.joined(separator: " "))"
    case .observation(let observation): ObservationText.message(observation.fact)
    case .advance: "all is in up to here"
    case .incident(let incident): incident.message
    case .progress(let progress): "recording goes on: " + Self.words(progress)
    case .end(let progress): "recording ended: " + Self.words(progress)
    }
  }

  private static func words(_ progress: RecordingProgress) -> String {
    var text = "\(progress.observations) observations, \(progress.packets) packets"
    let lost = progress.lostObservations + progress.lostPackets
    if lost > 0 { text += ", \(lost) lost" }
    if progress.countedCloses > 0 { text += ", \(progress.countedCloses) closes only counted" }
    return text
  }
}

extension JournalEntry {
  /// An observation outside of a session: nobody takes it for one.
  /// - Returns: nil when it is too long for an entry, or cannot be encoded.
  public init?(of observation: Observation) {
    let entry = SessionEntry(
      session: "", host: observation.host, sequence: 0, time: observation.time.best,
      record: .observation(observation))
    guard let journal = try? entry.journal(), journal.count == 1 else { return nil }
    self = journal[0].outsideOfSession
  }

  /// A verdict outside of a session.
  public init(of incident: RecordedIncident) {
    let entry = SessionEntry(
      session: "", host: "", sequence: 0, time: incident.time, record: .incident(incident))
    self = (try? entry.journal().first?.outsideOfSession) ?? JournalEntry()
  }

  private var outsideOfSession: JournalEntry {
    JournalEntry(
      fields: fields.filter {
        $0.name != SessionEntry.Field.session && $0.name != SessionEntry.Field.sequence
          && !($0.name == "_HOSTNAME" && $0.value.isEmpty)
      })
  }
}

extension SessionEntry {
  /// Reads an entry of our own.
  /// - Parameter value: of its record's field, whole.
  /// - Returns: nil when it is somebody else's, or of a kind that is not known yet.
  init?(_ journal: JournalEntry, field: String, value: String) {
    guard let session = journal[Field.session],
      let sequence = journal[Field.sequence].flatMap({ UInt64($0) }),
      let microseconds = journal["__REALTIME_TIMESTAMP"].flatMap({ Int64($0) }),
      let record = try? Self.record(field, value, message: journal["MESSAGE"] ?? "")
    else { return nil }
    self.session = session
    self.sequence = sequence
    host = journal["_HOSTNAME"] ?? ""
    isRepeated = journal[Field.repeated] == "1"
    let (nanoseconds, overflows) = microseconds.multipliedReportingOverflow(by: 1000)
    time = Timestamp(nanoseconds: overflows ? 0 : nanoseconds)
    self.record = record
    if case .observation(let observation) = record { time = observation.time.best }
    if case .incident(var incident) = record {
      incident.time = time
      self.record = .incident(incident)
    }
  }

  private static func record(
    _ field: String, _ value: String, message: String
  ) throws -> SessionRecord? {
    switch field {
    case Field.recording: .recording(try NodeDecoder.decode(RecordingInfo.self, from: value.utf8))
    case Field.observation:
      .observation(try NodeDecoder.decode(Observation.self, from: value.utf8))
    case Field.advance:
      .advance(
        try NodeDecoder.decode([Int64].self, from: value.utf8)
          .reduce(into: [Timestamp]()) { times, difference in
            let last = times.last?.nanoseconds ?? 0
            times.append(Timestamp(nanoseconds: last &+ difference))
          })
    case Field.incident:
      .incident(
        RecordedIncident(time: Timestamp(nanoseconds: 0), message: message, json: value))
    case Field.progress: .progress(try NodeDecoder.decode(RecordingProgress.self, from: value.utf8))
    case Field.end: .end(try NodeDecoder.decode(RecordingProgress.self, from: value.utf8))
    default: nil
    }
  }
}
