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
    // What something in between sent, or nginx itself, no death of the backend explains.
    guard couldBeADeath, close?.closer != .middlebox else { return [] }
    if let found = likeliestDeath(words) {
      return [
        EvidenceItem(
          source, found.text, decibans: found.decibans, time: found.death.time.best)
      ]
    }
    if let closer, !closer.isExiting, watched {
      return [
        EvidenceItem(
          "trace", "\(processName(closer.process)) closed it while it ran", decibans: -35,
          time: closer.time)
      ]
    }
    // Looked for and not there: the kernel does not kill in silence.
    return watched && isLocal ? [EvidenceItem(source, missing, decibans: -30)] : []
  }

  /// The death that bears most on the close, of those that have words: the evidence names it, and so
  /// must the fix.
  func likeliestDeath(
    _ words: (Death) -> String?
  ) -> (death: Death, text: String, decibans: Double)? {
    var best: (death: Death, text: String, decibans: Double)?
    for death in nearestDeaths where !isOutlived(death) {
      guard let text = words(death) else { continue }
      var (bearing, decibans): (String, Double) =
        switch relation(to: death.pid) {
        // The owner of the flow died and the flow closed: hardly ever a coincidence.
        case .owner: ("it owned this connection", 45)
        // A worker behind the same port; which of them owned the flow was not seen in time.
        case .backend: ("it served this port", 30)
        // Some process on the same host: a coincidence is likely, a proof it is not.
        case .stranger: ("not known to serve this port", 3)
        case .unknown: ("whether it served this port was not seen", strangerWeight(death))
        }
      decibans -= timing(death)
      if best.map({ decibans > $0.decibans }) ?? true {
        best = (death, "\(text); \(bearing)", decibans)
      }
    }
    return best
  }

  /// What the moment of a death takes from its bearing on the close.
  ///
  /// A process that ends closes all its sockets in one moment, after its memory is gone, and its end is
  /// told within milliseconds of that; a busy machine takes tens.
  private func timing(_ death: Death) -> Double {
    let gap = death.time.earliest - moment.latest
    switch relation(to: death.pid) {
    case .owner:
      guard close?.closedAt != nil else { return 0 }
      if let closer, !closer.isExiting, closer.process.pid == death.pid {
        // It closed while it ran. One that had been asked to end tidies up first; one that ended
        // unasked long afterwards had closed for another reason.
        if let asked = death.signalTime, asked <= closer.time { return 0 }
        return gap > .milliseconds(1) ? 40 : 20
      }
      if closer?.isExiting == true { return 0 }
      if gap > .milliseconds(100) { return 25 }
      return gap > .milliseconds(30) ? 10 : 0
    case .backend:
      // Which of them held the connection was not seen: the nearest is the likeliest.
      let nearest = nearestBackendDeath
      let own = death.time.distance(to: moment)
      let isFar = nearest.map { own > $0 + .milliseconds(3) } ?? false
      // nginx and the kernel tell of it within milliseconds.
      let isAside =
        gap > .milliseconds(20) || moment.earliest - death.time.latest > .milliseconds(40)
      return (isFar ? 12 : 0) + (isAside ? 15 : 0)
    case .stranger, .unknown: return 0
    }
  }

  /// The owner closed the connection while it ran, and then ended unasked and with success, within
  /// seconds, while its master went on: it was done.
  var ownerDrained: Death? {
    guard let closer, !closer.isExiting, !pool.isWhole else { return nil }
    return deaths.first { death in
      guard case .code(0) = death.how, death.pid == closer.process.pid else { return false }
      let isAsked = death.signalTime.map { $0 <= closer.time } ?? false
      return !isAsked && death.time.best >= closer.time
        && recycling[death.pid]?.parentLives == true
    }
  }

  private var nearestBackendDeath: TimeSpan? {
    deaths.filter { relation(to: $0.pid) == .backend }.map { $0.time.distance(to: moment) }.min()
  }

  /// The owner ended in that moment, and that is why the connection closed.
  var ownerDied: Bool {
    deaths.contains {
      relation(to: $0.pid) == .owner && !isOutlived($0) && timing($0) < 20
    }
  }

  /// The kernel's log names the process: an OOM kill or a fault.
  func hasKernelsWord(on pid: Int32) -> Bool {
    deaths.contains { $0.pid == pid && $0.isKernelsWord }
  }

  /// The kernel saw the process close the connection while it ran: what befell it afterwards is not
  /// the reason.
  func isOutlived(_ death: Death) -> Bool {
    guard let closer, !closer.isExiting, closer.process.pid == death.pid else { return false }
    return death.isSudden
  }

  /// The nearest process first; of one process the kernel's own words before the wait status that
  /// followed from them.
  private var nearestDeaths: [Death] {
    var distances: [Int32: TimeSpan] = [:]
    for death in deaths {
      let distance = death.time.distance(to: moment)
      distances[death.pid] = min(distances[death.pid] ?? distance, distance)
    }
    func rank(_ offset: Int, _ death: Death) -> (TimeSpan, Int, Int) {
      (distances[death.pid] ?? .zero, death.isKernelsWord ? 0 : 1, offset)
    }
    return deaths.enumerated()
      .sorted { rank($0.offset, $0.element) < rank($1.offset, $1.element) }.map(\.element)
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

/// `pid 3434 (app)`.
func processName(_ process: ProcessIdentity) -> String {
  process.command.isEmpty ? "pid \(process.pid)" : "pid \(process.pid) (\(process.command))"
}
