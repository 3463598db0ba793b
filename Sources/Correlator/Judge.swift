import Evidence

/// Weighs all causes for one case and ranks them.
enum Judge {
  struct Judgement {
    var verdict: Verdict
    var evidence: [EvidenceItem]
    var ruledOut: [String]
    var fix: Fix?
  }

  /// What is left for "something else": the scale's zero, which a cause must beat, so that a single
  /// weak sign stays a weak verdict.
  static let unknownScore = 0.0

  static func judge(_ c: Case) -> Judgement {
    var weighed: [(rule: any CauseRule, items: [EvidenceItem], score: Double)] = []
    var ruledOut: [String] = []
    for rule in causeRules {
      let items = rule.weigh(c)
      if !items.isEmpty {
        weighed.append((rule, items, rule.prior + items.reduce(0) { $0 + $1.decibans }))
      }
      if items.allSatisfy({ $0.decibans <= 0 }), let text = rule.ruledOut(c),
        !ruledOut.contains(text)
      {
        ruledOut.append(text)
      }
    }
    let total = weighed.reduce(ratio(decibans: unknownScore)) { $0 + ratio(decibans: $1.score) }
    var ranked = weighed.map { ($0.rule.id, ratio(decibans: $0.score) / total) }
    ranked.append((.unknown, ratio(decibans: unknownScore) / total))
    // The list's order decides between equals, so that a replay says the same.
    ranked = ranked.enumerated().sorted { ($1.element.1, $0.offset) < ($0.element.1, $1.offset) }
      .map(\.element)
    let (cause, probability) = ranked[0]
    let winner = weighed.first { $0.rule.id == cause }
    let rivals = ranked.dropFirst().filter { $0.1 >= 0.01 }.map {
      Verdict.Rival(cause: $0.0, probability: rounded($0.1))
    }
    return Judgement(
      verdict: Verdict(
        cause: cause, probability: min(rounded(probability), 0.999), rivals: Array(rivals)),
      evidence: (winner?.items ?? unexplained(c)).sorted { $0.decibans > $1.decibans },
      ruledOut: ruledOut, fix: winner?.rule.fix(c) ?? unknownFix(c))
  }

  private static func rounded(_ probability: Double) -> Double {
    (probability * 1000).rounded() / 1000
  }

  private static func unexplained(_ c: Case) -> [EvidenceItem] {
    var items = [EvidenceItem("nginx", c.line.text, decibans: 0, time: c.time.best)]
    if let death = c.deaths.first(where: { [.owner, .backend].contains(c.relation(to: $0.pid)) }) {
      let whose = c.relation(to: death.pid) == .owner ? "owned the connection" : "served the port"
      items.append(
        EvidenceItem(
          "processes",
          "pid \(death.pid) (\(death.command)), which \(whose), ended then; how was not told",
          decibans: 0, time: death.time.best))
    }
    if c.close == nil, c.watchedPackets {
      let isUNIX = if case .unix? = c.line.upstream { true } else { false }
      items.append(
        EvidenceItem(
          "packets",
          isUNIX
            ? "a UNIX socket sends no packets: its close is not seen"
            : "no close on this upstream fits the error", decibans: 0))
    }
    return items
  }

  private static func unknownFix(_ c: Case) -> Fix? {
    c.watchedPackets
      ? nil
      : Fix(text: "run upclose attach while it happens: without packets the close is not seen")
  }
}
