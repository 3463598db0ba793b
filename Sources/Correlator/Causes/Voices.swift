import Evidence

/// What the backend said of itself: its own log names the cause more plainly than any packet, if the
/// line is about this connection's process.
extension Case {
  /// The line that bears most on the error, of some kinds, as evidence; nil: none was written.
  ///
  /// Weights by what ties the line to the error: it names nginx's own end of the connection (+40: no
  /// other line does); a process behind the port (+28: the pool has others), and the one that owned the
  /// connection (+38); the upstream's log (+18: the moment fits); only the moment (+6: any log of the
  /// host). A line of more than two seconds before or after may be about another failure (-8).
  func voice(
    _ kinds: Set<BackendLine.Kind>, where fits: (BackendLine) -> Bool = { _ in true }
  ) -> EvidenceItem? {
    var best: EvidenceItem?
    for entry in backendLines where kinds.contains(entry.line.kind) && fits(entry.line) {
      // An order to stop that comes after the close is not its reason.
      if entry.line.kind == .stopping, entry.time.earliest > moment.latest + .milliseconds(300) {
        continue
      }
      var weight: Double =
        switch entry.bearing {
        case .connection: 40
        case .process: isOwner(entry.line.pid) ? 38 : entry.line.pid == nil ? 20 : 28
        case .upstream: 18
        case .unknown: 6
        }
      if entry.time.distance(to: moment) > .seconds(2) { weight -= 8 }
      if best.map({ weight > $0.decibans }) ?? true {
        best = EvidenceItem(
          "backend log", "\(entry.line.program.rawValue): \(entry.line.text)", decibans: weight,
          time: entry.time.best)
      }
    }
    return best
  }

  private func isOwner(_ pid: Int32?) -> Bool {
    guard let pid else { return false }
    if !owners.isEmpty { return owners.contains { $0.pid == pid } }
    // Nobody saw who held it: the worker whose end is nearest to the moment.
    let nearest = deaths.filter { relation(to: $0.pid) == .backend }.min {
      $0.time.distance(to: moment) < $1.time.distance(to: moment)
    }
    return nearest?.pid == pid && (nearest?.time.distance(to: moment) ?? .zero) <= .milliseconds(20)
  }

  /// Whether the line is of a kind that the end of the backend, or its choice, can cause.
  var isEndOfBackend: Bool {
    isWordOfItsEnd && (close == nil || close?.closer == .responder)
      && !(close?.requestAfterFIN ?? false)
  }

  /// Whether nginx's words are of a kind that the end of the backend, or its choice, brings about.
  var isWordOfItsEnd: Bool {
    switch line.message {
    case .prematurelyClosed, .recvFailed, .sendFailed, .bodyClosed, .bodyRecvFailed, .tlsClosed,
      .tlsTransferFailed, .upgradedFailed, .streamFailed, .protocolError, .connectFailed:
      line.errno != 111
    default: false
    }
  }

  /// What the log says for a cause that is the end of a worker: a plain word of it, or that it was
  /// read and has no such word.
  func weighVoice(
    _ kinds: Set<BackendLine.Kind>, where fits: (BackendLine) -> Bool = { _ in true }
  ) -> [EvidenceItem] {
    guard isEndOfBackend else { return [] }
    return voice(kinds, where: fits).map { [$0] } ?? []
  }
}
