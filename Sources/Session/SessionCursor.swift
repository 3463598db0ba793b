import CaptureFile
import Evidence

/// Reads a session's file entry by entry.
final class SessionCursor {
  private var reader: CaptureReader
  /// Set when there is no more.
  private(set) var error: CaptureError?
  private var isAtEnd = false
  /// Parts of an entry that was too long for one block.
  private var parts: [String] = []
  /// Entries of ours that could not be understood.
  private(set) var unknown: UInt64 = 0

  /// - Throws: `CaptureError` when the file cannot be opened.
  init(path: String) throws(CaptureError) { reader = try CaptureReader(path: path) }

  /// The next entry, of whatever session; nil at the end, where `error` says whether it was good.
  func next() -> SessionEntry? {
    var found: SessionEntry?
    guard !isAtEnd else { return nil }
    do throws(CaptureError) {
      try reader.readItems { item in
        if case .journal(let bytes) = item { found = self.entry(bytes) }
        return found == nil
      }
    } catch {
      self.error = error
    }
    if found == nil { isAtEnd = true }
    return found
  }

  private func entry(_ bytes: UnsafeRawBufferPointer) -> SessionEntry? {
    let journal = JournalEntry(bytes)
    guard journal[SessionEntry.Field.session] != nil,
      let (field, value) = journal.fields.first(where: { SessionEntry.Field.all.contains($0.name) })
    else { return nil }
    var whole = value
    if let part = journal[SessionEntry.Field.part] {
      let numbers = part.split(separator: "/").compactMap { Int($0) }
      guard numbers.count == 2 else { return nil }
      if numbers[0] == 1 { parts = [] }
      parts.append(value)
      guard numbers[0] == numbers[1], parts.count == numbers[1] else { return nil }
      whole = parts.joined()
      parts = []
    }
    guard let entry = SessionEntry(journal, field: field, value: whole) else {
      unknown += 1
      return nil
    }
    return entry
  }
}
