import Evidence

/// How well a close explains an error, in decibans against "this close has nothing to do with it".
///
/// Every term has its reason beside it; together they are the log-likelihood of the pair.
struct MatchScore {
  /// The worker that holds nginx's end of a flow, where it was seen.
  var workerOf: (Flow) -> [ProcessIdentity]

  /// What a pair must exceed to be better than leaving both alone. A close that merely happens at the
  /// same upstream in the same second is a coincidence on a busy host.
  static let threshold = 8.0

  /// Nil when the close cannot be this error's at all.
  func score(
    _ line: NginxLine, at time: TimeEstimate, _ close: Connection, _ attempt: UpstreamTry? = nil
  ) -> Double? {
    guard let phase = phaseScore(line, close), let timing = timeScore(time, close) else {
      return nil
    }
    var score = phase + timing
    if let attempt, line.scheme == "http" { score += Self.bytes(attempt, close) }
    if let expected = line.upstreamRequest, let seen = close.request {
      // The payload's own request line: paths repeat (+25 is not certainty), but another path is
      // another request.
      if expected == seen {
        score += 25
      } else if line.isTruncated, expected.hasPrefix(seen) || seen.hasPrefix(expected) {
        score += 15
      } else {
        score -= 40
      }
    }
    let workers = workerOf(close.flow)
    if !workers.isEmpty {
      // One worker of a few: right says little where there is one worker, wrong says all.
      score += workers.contains { $0.pid == line.worker } ? 6 : -30
    }
    return score
  }

  /// The bytes of the try against the payload of the connection's last exchange. Over TLS nginx counts
  /// what it encrypts, so this is for plain connections alone.
  private static func bytes(_ attempt: UpstreamTry, _ close: Connection) -> Double {
    var score = 0.0
    if let received = attempt.bytesReceived, let seen = close.responseBytes {
      // All that was received was on the wire; what came with the close may not have been read.
      if received == seen { score += received > 0 ? 12 : 2 } else if received > seen { score -= 30 }
    }
    if let sent = attempt.bytesSent, sent > 0, let seen = close.requestBytes {
      // The socket takes what never leaves it when a reset comes first.
      if sent == seen { score += 12 } else if sent < seen { score -= 30 }
    }
    return score
  }

  /// The close as it lies against the error: nginx notices within the same batch of events, so the
  /// error follows the close's packets by well under a millisecond, unless the worker was stalled.
  private func timeScore(_ time: TimeEstimate, _ close: Connection) -> Double? {
    let span = TimeEstimate(
      best: close.lastPacket, earliest: close.closedAt ?? close.firstPacket,
      // The answer of a router to a SYN is no packet of the connection, and comes seconds after it.
      latest: close.connState == .s0 ? close.lastPacket + .seconds(3) : close.lastPacket)
    let gap = time.distance(to: span)
    let uncertainty = (time.latest - time.earliest).seconds
    // How rare it is that a close falls so near by chance, when one comes about each second.
    let precision = max(0.001, uncertainty)
    let rarity = min(25, max(0, -10 * log10(precision)))
    switch gap {
    case ..<(.milliseconds(2)): return 10 + rarity
    case ..<(.milliseconds(20)): return 6 + rarity
    case ..<(.milliseconds(200)): return rarity
    // A worker that was busy or stopped: measured up to 2 s.
    case ..<(.seconds(3)): return -6
    default: return nil
    }
  }

  /// Whether the close is of the kind that makes nginx write this message (nginx-upstream-failures,
  /// section 2).
  private func phaseScore(_ line: NginxLine, _ close: Connection) -> Double? {
    let byResponder = close.closer == .responder || close.closer == .middlebox
    let reset = close.responderReset != nil
    switch line.message {
    case .connectFailed:
      if line.errno == 111 { return close.manner == .refused ? 15 : nil }
      if line.errno == 110 { return close.connState == .s0 ? 10 : nil }
      if [100, 101, 113].contains(line.errno) {
        return close.connState == .s0 ? 12 : nil
      }
      // 104: an established connection, new or cached, was reset before anything was written.
      return reset && close.manner != .refused
        ? (close.requestDelivery == .neverSent ? 12 : 2) : nil
    case .connectTimedOut:
      return close.connState == .s0 || close.manner == .timeout ? 12 : nil
    case .prematurelyClosed:
      guard byResponder, close.responderFIN != nil || close.responderReset != nil else {
        return nil
      }
      if close.responderFIN == nil { return -8 }  // TLS swallows a reset; else FIN came first.
      if close.requestAfterFIN { return 12 }
      // Light capture: it may be this one; only time and place tell.
      if close.phase == .unknown { return 6 }
      return close.phase == .awaitingResponse || close.phase == .receivingResponse
        ? 12 : close.exchanges == 0 ? 4 : -12
    case .recvFailed where line.errno == 110:
      return close.manner == .timeout ? 12 : nil
    case .recvFailed, .sendFailed, .tlsTransferFailed:
      guard byResponder || close.requestAfterFIN, reset, close.manner != .refused else {
        return nil
      }
      return close.responderFIN != nil && line.errno == 104 ? 0 : 12
    case .bodyClosed:
      return byResponder && close.responderFIN != nil
        ? bodyScore(close) : nil
    case .bodyRecvFailed:
      return byResponder && reset ? bodyScore(close) : nil
    case .tlsClosed:
      return byResponder && close.phase != .connecting ? 8 : nil
    case .tlsHandshakeFailed, .tlsCertificateRejected, .invalidResponse, .invalidChunked,
      .protocolError, .prematureResponse, .headerTooBig, .noValidHeader:
      // nginx has seen enough and closes, or the backend had closed behind its answer.
      return close.closer == .originator ? 10 : close.closer == .responder ? 2 : nil
    case .tlsTimedOut, .sendTimedOut, .headerTimedOut, .bodyTimedOut:
      // nginx's FIN waits behind a request that nobody acknowledges.
      return close.closer == .originator || close.manner == .timeout ? 12 : nil
    case .upgradedFailed, .streamFailed:
      return close.manner == .refused ? (line.errno == 111 ? 12 : nil) : reset ? 8 : nil
    case .upgradedTimedOut, .streamTimedOut:
      return close.closer == .originator || close.connState == .s0 ? 8 : nil
    default:
      // No packet is sent for a missing name, a full table or a disabled peer.
      return nil
    }
  }

  private func bodyScore(_ close: Connection) -> Double {
    switch close.phase {
    case .receivingResponse: 12
    case .unknown: 6
    // What TLS hides cannot be told from the end of a whole answer.
    case .idle where close.exchanges == nil: 8
    default: -6
    }
  }
}
