import Evidence

/// A verdict stands, and may be given again when something comes later that bears on it.
extension Correlator {
  /// Looks again at the incidents that something new may bear on.
  mutating func revise() -> [Incident] {
    var given: [Incident] = []
    for id in standing.takeDoubtful() {
      guard let (error, old) = standing[id] else { continue }
      let match: Matching.Match
      if let close = old.close {
        // The match stands; only what is known of the close has grown.
        guard let entry = closes[close.flow.responder]?[close.connection] else { continue }
        match = Matching.Match(
          close: entry.connection, confidence: old.match.confidence,
          candidates: old.match.candidates)
      } else {
        match = matching().solve([error])[id] ?? .none
        if let close = match.close { closes[close.flow.responder]?.claim(close.id, for: id) }
      }
      let (new, facts) = incident(for: error, match: match, revision: old.revision + 1)
      guard differs(old, new) else { continue }
      findings.remove(old)
      findings.add(new, facts)
      count(old, by: -1)
      count(new, by: 1)
      standing.replace(error, new)
      given.append(new)
    }
    return given
  }

  private func differs(_ a: Incident, _ b: Incident) -> Bool {
    a.verdict.cause != b.verdict.cause || a.close != b.close || a.clientStatus != b.clientStatus
      || a.retried != b.retried
      || abs(a.verdict.probability - b.verdict.probability) >= 0.05
  }
}
