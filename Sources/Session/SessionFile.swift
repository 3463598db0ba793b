public import CaptureFile
import Evidence

/// What a file holds of a session, found in one pass over its blocks.
public struct SessionFile: Hashable, Sendable {
  public var path: String
  public var session: String
  public var host: String
  /// Nil when the entry that says it is not in this file.
  public var info: RecordingInfo?
  public var firstSequence: UInt64
  public var lastSequence: UInt64
  /// Whether the numbers rise: another program may have sorted the file by time.
  public var isInOrder = true
  /// The recording was ended as it should; else whoever recorded was killed, or still records.
  public var isEnded = false
  /// Whether the session's nginx was on this host: its error log is in it.
  public var hasErrors = false
  public var progress: RecordingProgress?

  /// What a capture file turned out to be.
  public struct Content: Sendable {
    /// Empty when it is a plain capture.
    public var sessions: [SessionFile]
    /// Why it could not be read to its end.
    public var error: CaptureError?
  }

  /// Looks for sessions in a capture file.
  ///
  /// A plain capture is given up on early: a session says what it is among its first blocks.
  /// - Throws: `CaptureError` when it cannot be opened, or is no capture.
  public static func content(of path: String) throws(CaptureError) -> Content {
    var reader = try CaptureReader(path: path)
    var found: [String: SessionFile] = [:]
    var blocks = 0
    guard try reader.isPcapng() else { return Content(sessions: []) }
    do throws(CaptureError) {
      try reader.readItems { item in
        blocks += 1
        if case .journal(let bytes) = item { note(JournalEntry(bytes), path, &found) }
        return !found.isEmpty || blocks < 10_000
      }
    } catch {
      return Content(sessions: sorted(found), error: error)
    }
    return Content(sessions: sorted(found))
  }

  private static func sorted(_ found: [String: SessionFile]) -> [SessionFile] {
    found.values.sorted {
      ($0.info?.started.nanoseconds ?? 0, $0.session)
        < ($1.info?.started.nanoseconds ?? 0, $1.session)
    }
  }

  private static func note(
    _ journal: JournalEntry, _ path: String, _ found: inout [String: SessionFile]
  ) {
    typealias Field = SessionEntry.Field
    guard let session = journal[Field.session],
      let sequence = journal[Field.sequence].flatMap({ UInt64($0) })
    else { return }
    let isRepeated = journal[Field.repeated] != nil
    var file =
      found[session]
      ?? SessionFile(
        path: path, session: session, host: journal["_HOSTNAME"] ?? "", firstSequence: sequence,
        lastSequence: sequence)
    if !isRepeated {
      if sequence < file.lastSequence { file.isInOrder = false }
      file.firstSequence = min(file.firstSequence, sequence)
      file.lastSequence = max(file.lastSequence, sequence)
    }
    if let value = journal[Field.recording], file.info == nil {
      file.info = try? NodeDecoder.decode(RecordingInfo.self, from: value.utf8)
      if let info = file.info { file.host = info.host }
    }
    if let value = journal[Field.end] ?? journal[Field.progress] {
      file.progress = try? NodeDecoder.decode(RecordingProgress.self, from: value.utf8)
      file.isEnded = journal[Field.end] != nil
    }
    if !file.hasErrors, let value = journal[Field.observation] {
      file.hasErrors =
        value.contains("\"fact\":{\"nginxLine\"") || value.contains("\"fact\":{\"nginx\"")
    }
    found[session] = file
  }
}
