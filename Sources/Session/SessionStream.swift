import CaptureFile
import Evidence

/// One session, in its order: from all its files, each entry once.
final class SessionStream {
  let session: String
  let host: String
  private var files: [SessionFile]
  private var cursor: SessionCursor?
  /// Of a file that another program put out of order.
  private var sorted: [SessionEntry]?
  private var last: UInt64 = 0
  private var hasBegun = false
  /// The file goes on where the one before ended: what it repeats of that was told.
  private var skipsRepeated = false
  private(set) var errors: [CaptureError] = []
  /// Entries of ours that could not be understood.
  private(set) var unknown: UInt64 = 0
  /// Entries that are in none of the files.
  private(set) var missing: UInt64 = 0

  /// - Parameter files: of one session.
  init(_ files: [SessionFile]) {
    session = files.first?.session ?? ""
    host = files.first?.host ?? ""
    self.files = files.sorted {
      ($0.firstSequence, $1.lastSequence) < ($1.firstSequence, $0.lastSequence)
    }
  }

  func next() -> SessionEntry? {
    while let entry = nextOfFiles() {
      guard entry.session == session else { continue }
      if entry.isRepeated {
        if skipsRepeated { continue }
        return entry
      }
      guard entry.sequence > last else { continue }
      if hasBegun { missing += entry.sequence - last - 1 }
      hasBegun = true
      last = entry.sequence
      return entry
    }
    return nil
  }

  private func nextOfFiles() -> SessionEntry? {
    while true {
      if let entry = sorted?.popLast() { return entry }
      sorted = nil
      if let entry = cursor?.next() { return entry }
      closeFile()
      guard !files.isEmpty else { return nil }
      open(files.removeFirst())
    }
  }

  private func open(_ file: SessionFile) {
    skipsRepeated = hasBegun && file.firstSequence <= last + 1
    do throws(CaptureError) {
      let cursor = try SessionCursor(path: file.path)
      self.cursor = cursor
      guard !file.isInOrder else { return }
      var entries: [SessionEntry] = []
      while let entry = cursor.next() { entries.append(entry) }
      sorted = entries.enumerated().sorted {
        ($0.element.sequence, $0.offset) > ($1.element.sequence, $1.offset)
      }.map(\.element)
    } catch {
      errors.append(error)
    }
  }

  private func closeFile() {
    if let cursor {
      unknown += cursor.unknown
      if let error = cursor.error { errors.append(error) }
    }
    cursor = nil
  }
}
