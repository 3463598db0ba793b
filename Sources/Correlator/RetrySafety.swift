import Evidence

/// Whether the request of a failed exchange can be sent again without a second effect.
public struct RetrySafety: Hashable, Codable, Sendable {
  /// True: no application can have read it; false: one may have; nil: that was not seen.
  public var isSafe: Bool?
  /// One clause.
  public var text: String
}

extension Incident {
  /// What is known of the request's fate (design: only what was never sent, rejected, or refused is
  /// surely unread; an acknowledgement does not prove that the application read it, nor a missing one
  /// that it did not).
  public var retrySafety: RetrySafety {
    if let nothing = nothingSent { return RetrySafety(isSafe: true, text: nothing) }
    guard let close else {
      return RetrySafety(
        isSafe: nil, text: "what became of the request was not seen: \(again)")
    }
    switch close.requestDelivery {
    case .neverSent:
      return RetrySafety(isSafe: true, text: "the request was never sent: safe to retry")
    case .rejected:
      return RetrySafety(
        isSafe: true,
        text: "the request met a socket that was gone, and no application read it: safe to retry")
    case .partlyAcknowledged:
      return RetrySafety(
        isSafe: false,
        text:
          "the backend's kernel took a part of the request, and the application may have acted on "
          + "it: \(again)")
    case .acknowledged:
      return RetrySafety(
        isSafe: false,
        text:
          "the backend's kernel took the whole request, and the application may have executed it: "
          + again)
    case .unknown:
      return RetrySafety(
        isSafe: nil, text: "whether the backend read the request was not seen: \(again)")
    }
  }

  private var nothingSent: String? {
    if close?.manner == .refused { return "the connection was refused: safe to retry" }
    switch kind {
    case .noLiveUpstreams, .nameResolutionFailed, .noPort, .bindFailed, .socketFailed,
      .workerConnectionsExhausted, .connectRefusedAtOnce, .connectTimedOut, .connectFailed:
      // `connect() failed` is said before the first byte is written, on a reused connection too.
      return "nothing was sent: safe to retry"
    case .tlsClosed, .tlsHandshakeFailed, .tlsTimedOut, .tlsCertificateRejected:
      return "the request was not sent, only a handshake: safe to retry"
    default: return nil
    }
  }

  private var again: String {
    let method = request?.prefix { $0 != " " } ?? ""
    return ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].contains(method)
      ? "\(method) may be retried (idempotent by RFC 9110)" : "a retry may do it twice"
  }
}
