import Evidence

/// Lets a line that nginx wrote to several logs through once.
///
/// nginx writes each entry to every `error_log` of its level, with the same bytes. The same bytes
/// may also be written twice to one log by two events of one second: the k-th time in one log is the
/// k-th time in another.
struct DuplicateFilter {
  /// Both copies are written, and read, within this time.
  private static let memory = TimeSpan.seconds(5)
  private static let mostRemembered = 1 << 16

  private struct Sightings {
    var perLog: [Int: Int] = [:]
    var passed = 0
  }

  private var recent: [Int: Sightings] = [:]
  private var older: [Int: Sightings] = [:]
  private var turned: Timestamp?

  /// Whether an entry that was read from a log is new.
  mutating func isNew(_ entry: Span<UInt8>, log: Int, at now: Timestamp) -> Bool {
    turn(now)
    var hasher = Hasher()
    entry.withUnsafeBytes { hasher.combine(bytes: $0) }
    let key = hasher.finalize()
    var sightings = recent[key] ?? older.removeValue(forKey: key) ?? Sightings()
    let count = sightings.perLog[log, default: 0] + 1
    sightings.perLog[log] = count
    let isNew = count > sightings.passed
    if isNew { sightings.passed = count }
    recent[key] = sightings
    return isNew
  }

  private mutating func turn(_ now: Timestamp) {
    if let turned, now - turned < Self.memory, recent.count < Self.mostRemembered { return }
    turned = now
    older = recent
    recent.removeAll(keepingCapacity: true)
  }
}
