import Evidence

/// What the causes that are the end of a process have in common: whose death it was decides.
extension Case {
  /// - Parameters:
  ///   - source: where the death was seen.
  ///   - watched: whether that source was watched (else its silence says nothing).
  ///   - missing: what to say when it was watched and there was no such death.
  ///   - words: the death in words; nil for deaths that the cause is not about.
  func weighDeaths(
    source: String, watched: Bool, missing: String,
    words: (Death) -> String?
  ) -> [EvidenceItem] {
    guard couldBeADeath else { return [] }
    if let (death, decibans) = nearestDeath(where: { words($0) != nil }), let text = words(death) {
      let bearing =
        switch relation(to: death.pid) {
        case .owner: "it owned this connection"
        case .backend: "it served this port"
        case .stranger: "not known to serve this port"
        case .unknown: "whether it served this port was not seen"
        }
      return [
        EvidenceItem(source, "\(text); \(bearing)", decibans: decibans, time: death.time.best)
      ]
    }
    // Looked for and not there: the kernel does not kill in silence.
    return watched && isLocal ? [EvidenceItem(source, missing, decibans: -30)] : []
  }

  /// The death that bears most on the close, of those that are asked for, and its weight.
  func nearestDeath(where isMeant: (Death) -> Bool) -> (death: Death, decibans: Double)? {
    var best: (death: Death, decibans: Double)?
    // The kernel's own words say more than the wait status that followed from them.
    for death in deaths.sorted(by: { $0.isKernelsWord && !$1.isKernelsWord }) where isMeant(death) {
      let decibans = weight(of: death)
      if best.map({ decibans > $0.decibans }) ?? true { best = (death, decibans) }
    }
    return best
  }

  private func weight(of death: Death) -> Double {
    // A close that is not within the blink of an end that was seen is probably another's.
    let lateness = death.end != nil && death.gap(to: moment) > .milliseconds(60) ? -14.0 : 0
    return switch relation(to: death.pid) {
    // The owner of the flow died and the flow closed: hardly ever a coincidence.
    case .owner: 45 + lateness
    // A worker behind the same port; which of them owned the flow was not seen in time.
    case .backend: 30 + lateness
    // Some process on the same host: a coincidence is likely, a proof it is not.
    case .stranger: 3
    case .unknown: strangerWeight(death)
    }
  }

  /// From files: such deaths are rare, and this one falls into the close's own seconds; the more of
  /// them its time leaves open, the less that says. Whose death it was, nobody saw.
  func strangerWeight(_ death: Death) -> Double {
    let open = (death.time.latest - death.time.earliest).seconds
    return max(3, 17 - 10 * log10(max(1, open)))
  }

  /// Whether the line is of a kind that the end of a process can cause. A refused connect has its
  /// own cause, of which an earlier death is only the explanation.
  private var couldBeADeath: Bool {
    switch line.message {
    case .prematurelyClosed, .recvFailed, .sendFailed, .bodyClosed, .bodyRecvFailed, .tlsClosed,
      .upgradedFailed, .streamFailed, .protocolError, .connectFailed:
      line.errno != 111
    default: false
    }
  }
}
