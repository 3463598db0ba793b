import Evidence

/// The backend does not take the whole body: it answers early or not at all, and closes with the rest
/// unread, so that its kernel resets the connection (close-signatures K, 4.10; failure rows 20 to 24).
struct BodyTooLarge: CauseRule {
  let id = CauseID.bodyTooLarge
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard let close = c.close, close.closer == .responder, !close.requestAfterFIN,
      close.responderReset != nil || close.manner == .activeReset, hasBody(c)
    else { return [] }
    let isCut =
      close.phase == .sendingRequest || close.requestDelivery == .partlyAcknowledged
    let hasAnswered = (close.responseBytes ?? 0) > 0
    let isUnread = c.reset?.reason == "TCP_ABORT_ON_CLOSE"
    guard isCut || hasAnswered || c.sizeThreshold != nil || isUnread else { return [] }
    var items: [EvidenceItem] = []
    if isCut {
      let size = close.requestBytes.map { " (\($0) bytes of it were seen)" } ?? ""
      // Backends that die or change their mind seldom do so within a body: it takes milliseconds.
      items.append(
        EvidenceItem(
          "packets", "the reset came while nginx was still sending the body\(size)", decibans: 30,
          time: close.closedAt))
    }
    if hasAnswered {
      items.append(
        EvidenceItem(
          "packets", "it had answered with \(close.responseBytes ?? 0) bytes before it reset",
          decibans: c.line.message.isInBody ? 12 : 8))
    }
    if let threshold = c.sizeThreshold, let bytes = close.requestBytes,
      bytes >= threshold.smallestFailed
    {
      items.append(EvidenceItem("packets", threshold.words, decibans: 15))
    }
    if isUnread {
      items.append(
        EvidenceItem(
          "trace", "its kernel's reason for the reset: closed with data unread", decibans: 10))
    }
    if let status = c.answer?.status, [400, 401, 403, 408, 413, 414, 417].contains(status) {
      items.append(
        EvidenceItem(
          "access log", "the client got \(status): the backend's early answer", decibans: 20))
    }
    if c.ownerDied {
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -45))
    } else if let closer = c.closer, !closer.isExiting {
      items.append(
        EvidenceItem(
          "trace", "\(processName(closer.process)) closed it itself, while it ran", decibans: 8))
    } else if c.watchedProcesses, let owner = c.ownerName {
      items.append(
        EvidenceItem("processes", "\(owner), which owned it, is still running", decibans: 6))
    }
    return items
  }

  private func hasBody(_ c: Case) -> Bool {
    let request = c.close?.request ?? c.line.request ?? ""
    return !["GET ", "HEAD ", "OPTIONS ", "DELETE "].contains { request.hasPrefix($0) }
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.closer == .responder, close.requestDelivery == .acknowledged,
      close.phase == .awaitingResponse
    else { return nil }
    return "the backend's kernel had taken the whole request when it was closed"
  }

  func fix(_ c: Case) -> Fix? {
    let size = c.sizeThreshold?.smallestFailed ?? c.close?.requestBytes
    let above = size.map { " (from \(byteText($0)) on)" } ?? ""
    return Fix(
      directive: "client_max_body_size",
      value: c.sizeThreshold?.largestAnswered.map { "\(max(1, $0 >> 10))k" }, place: "the location",
      text: "the backend does not read such a body to its end\(above): let nginx refuse it "
        + "first, or "
        + "let the backend drain it (Tomcat maxSwallowSize, uWSGI post-buffering) and raise "
        + "its limit",
      tradeOff:
        "larger bodies get 413 from nginx; keep proxy_request_buffering on, else the backend's "
        + "own answer is lost")
  }
}

extension SizeThreshold {
  /// As `all 7 requests from 4210 bytes on failed so, all 112 up to 3990 bytes were answered`.
  var words: String {
    let answers = largestAnswered.map { ", all \(answered) up to \($0) bytes were answered" } ?? ""
    return "all \(failed) requests from \(smallestFailed) bytes on failed so\(answers)"
  }
}
