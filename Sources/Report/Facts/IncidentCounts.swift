public import Correlator
import Evidence

/// Incidents as counters that never go back: each is counted once its verdict is settled, since a
/// revision within seconds may give it another cause.
public struct IncidentCounts: Sendable {
  /// Revisions come within ten seconds of an incident's first verdict.
  static let patience = TimeSpan.seconds(20)

  public struct Key: Hashable, Comparable, Sendable {
    public var upstream: String
    public var cause: CauseID

    public static func < (a: Self, b: Self) -> Bool {
      (a.upstream, a.cause.rawValue) < (b.upstream, b.cause.rawValue)
    }
  }

  /// How an error was joined to its close.
  public enum Match: String, Hashable, Sendable, CaseIterable {
    case matched
    /// Another close fits nearly as well.
    case ambiguous
    case unmatched
  }

  public private(set) var causes: [Key: UInt64] = [:]
  public private(set) var matches: [Match: UInt64] = [:]
  private var waiting: [Int: Entry] = [:]
  private var order: [Int] = []

  private struct Entry {
    var key: Key
    var match: Match
    var since: Timestamp
  }

  mutating func put(_ incident: Incident, at now: Timestamp) {
    let match: Match =
      incident.close == nil
      ? .unmatched : incident.match.confidence < 0.9 ? .ambiguous : .matched
    let key = Key(upstream: incident.upstream ?? "", cause: incident.verdict.cause)
    if waiting[incident.id] != nil {
      waiting[incident.id]?.key = key
      waiting[incident.id]?.match = match
    } else if incident.revision == 1 {
      waiting[incident.id] = Entry(key: key, match: match, since: now)
      order.append(incident.id)
    }
  }

  /// - Parameter now: nil: nothing more comes.
  mutating func settle(at now: Timestamp?) {
    var settled = 0
    for id in order {
      guard let entry = waiting[id] else { continue }
      if let now, entry.since + Self.patience > now, order.count - settled < 20_000 { break }
      waiting[id] = nil
      settled += 1
      // Names come from a log: a hostile one does not fill the memory.
      let key =
        causes[entry.key] != nil || causes.count < 2000
        ? entry.key : Key(upstream: "other", cause: entry.key.cause)
      causes[key, default: 0] += 1
      matches[entry.match, default: 0] += 1
    }
    if settled > 0 { order.removeFirst(settled) }
  }
}
