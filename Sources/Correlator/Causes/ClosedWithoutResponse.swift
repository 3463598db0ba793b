import Evidence

/// The application took the request and closed without a word (close-signatures B, C, D).
struct ClosedWithoutResponse: CauseRule {
  let id = CauseID.closedWithoutResponse

  func weigh(_ c: Case) -> [EvidenceItem] {
    if case .unix? = c.line.upstream { return unseen(c) }
    guard let close = c.close, close.closer == .responder, !c.line.message.isInBody,
      c.isWordOfItsEnd,
      !close.requestAfterFIN || c.isReused == false,
      close.phase != .connecting, close.phase != .tlsHandshake,
      // Light capture: an idle connection's close would look the same.
      close.phase != .unknown
    else { return [] }
    var items: [EvidenceItem] = []
    switch close.manner {
    case .fin where close.phase == .awaitingResponse:
      items.append(
        EvidenceItem(
          "packets", "the backend sent FIN\(after(close)) and not one byte of a response",
          decibans: 20, time: close.closedAt))
    case .fin where close.phase == .receivingResponse:
      items.append(
        EvidenceItem(
          "packets",
          "the backend sent FIN after \(close.responseBytes ?? 0) bytes, inside the response header",
          decibans: 20, time: close.closedAt))
    case .activeReset where close.phase != .idle:
      items.append(
        EvidenceItem(
          "packets",
          "the backend's own socket sent the reset\(after(close)) (ACK set, live window): "
            + "closed with the request unread, or SO_LINGER 0",
          decibans: 20, time: close.closedAt))
    case .fin where close.exchanges == 0 || close.requestAfterFIN:
      items.append(
        EvidenceItem(
          "packets", "the backend accepted and closed before any request",
          // That the FIN came first is seen when a request followed it.
          decibans: close.requestAfterFIN ? 20 : 10, time: close.closedAt))
    default: return []
    }
    if let reset = c.reset, let reason = reset.reason {
      items.append(
        EvidenceItem(
          "trace", "its kernel's reason for the reset: \(reason)\(resetMeaning(reason))",
          decibans: 3))
    }
    if let words = c.lastWords, let received = words.bytesReceived,
      let sent = close.originatorBytes,
      close.phase == .awaitingResponse
    {
      // What its kernel took in is what the application was given to read.
      items.append(
        EvidenceItem(
          "sockets",
          received >= sent
            ? "its kernel had received all \(received) bytes that nginx sent"
            : "its kernel had received \(received) of \(sent) bytes that nginx sent", decibans: 2))
    }
    if close.phase == .sendingRequest || close.requestDelivery == .partlyAcknowledged {
      // Who does not read a body to its end has a reason in the body.
      items.append(
        EvidenceItem("packets", "nginx was still sending the request", decibans: -15))
    }
    if let age = c.requestAge, let own = MasterTimeout.age(c),
      (own - age.value).magnitude <= max(age.spread, .milliseconds(300))
    {
      items.append(
        EvidenceItem(
          "packets",
          "its requests are cut at an age of \(age.value) (n=\(age.count)): a limit of its own",
          decibans: 4))
    }
    if let word = c.voice([.exception, .sessionAborted]) { items.append(word) }
    if let word = c.voice([.workerTimeout, .workerRecycle, .workerKilled, .stopping]),
      word.decibans >= 18
    {
      // Its log knows another reason.
      items.append(
        EvidenceItem(word.source, word.text, decibans: -word.decibans / 2, time: word.time))
    }
    items += fate(c)
    return items
  }

  /// Over a UNIX socket no packet is seen: nginx's own words, and who lives, are all there is.
  private func unseen(_ c: Case) -> [EvidenceItem] {
    guard c.isEndOfBackend, !c.line.message.isInBody, c.line.message != .connectFailed else {
      return []
    }
    let how = c.line.message == .prematurelyClosed ? "the end of the stream" : "a reset"
    var items = [
      EvidenceItem("nginx", "nginx read \(how) where an answer was due", decibans: 10)
    ]
    if let word = c.voice([.exception, .sessionAborted]) { items.append(word) }
    return items + fate(c)
  }

  private func after(_ close: Connection) -> String {
    guard let sent = close.requestSentAt, let closed = close.closedAt else { return "" }
    return " \(closed - sent) after the request"
  }

  /// A FIN looks alike whether the application chose it or died: only its process tells.
  private func fate(_ c: Case) -> [EvidenceItem] {
    if let closer = c.closer, closer.isExiting {
      return [
        EvidenceItem(
          "trace", "\(processName(closer.process)) was ending: the kernel closed it",
          decibans: -30, time: closer.time)
      ]
    }
    if c.ownerDied {
      return [
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -30)
      ]
    }
    if c.deaths.contains(where: { c.relation(to: $0.pid) == .backend }), c.owners.isEmpty {
      return [EvidenceItem("processes", "a process behind the port died then", decibans: -15)]
    }
    if let drained = c.ownerDrained {
      // It was done with everything, not with this request.
      return [
        EvidenceItem(
          "processes", "pid \(drained.pid) (\(drained.command)) ended by itself soon after",
          decibans: 4, time: drained.time.best)
      ]
    }
    if let closer = c.closer {
      return [
        EvidenceItem(
          "trace", "\(processName(closer.process)) closed it itself, while it ran",
          decibans: 18, time: closer.time)
      ]
    }
    if c.watchedProcesses, let owner = c.ownerName {
      return [EvidenceItem("processes", "\(owner), which owned it, is still running", decibans: 12)]
    }
    if c.watchedProcesses, c.owners.isEmpty, !c.backends.isEmpty {
      // Too young a connection for its owner to be known, but nobody behind the port is missing.
      return [
        EvidenceItem("processes", "no process behind the port ended", decibans: 8)
      ]
    }
    guard !c.isLocal else { return [] }
    // Without the backend's process a kill or a crash cannot be told from a choice: the cap.
    var items = [
      EvidenceItem(
        "processes", "its process is not seen from here: a kill or a crash would look the same",
        decibans: -12)
    ]
    if let death = c.deaths.first(where: { c.relation(to: $0.pid) == .unknown }) {
      // Half of what it gives the death: both may be true of different processes.
      items.append(
        EvidenceItem(
          "kernel",
          "pid \(death.pid) (\(death.command)) died in those seconds; whether it served this port was "
            + "not seen", decibans: -c.strangerWeight(death) / 2))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.requestAfterFIN, c.isReused != false else { return nil }
    return "no application had the request when the backend closed"
  }

  func fix(_ c: Case) -> Fix? {
    let whose = c.ownerName ?? "the backend"
    if let age = c.requestAge, let own = MasterTimeout.age(c),
      (own - age.value).magnitude <= max(age.spread, .milliseconds(300))
    {
      return Fix(
        text: "\(whose) closes what takes longer than \(age.value) (n=\(age.count)): a "
          + "write or request "
          + "time-out of its own (Go WriteTimeout, Node server.timeout); raise it above the slowest "
          + "request, or make that faster",
        tradeOff: "slow requests hold a connection longer")
    }
    let request = c.close?.request ?? c.line.request
    return Fix(
      text: "read \(whose)'s own log at that second"
        + (request.map { " for \($0)" } ?? "")
        + ": an unhandled error or a write time-out closes like this; nginx has no setting for it")
  }
}

/// What the kernel means by a reason (Linux include/net/rstreason.h); empty where the word says it.
private func resetMeaning(_ reason: String) -> String {
  switch reason {
  case "TCP_ABORT_ON_CLOSE": " (closed with data unread)"
  case "TCP_STATE", "TCP_ABORT_ON_LINGER", "TCP_DISCONNECT_WITH_DATA": " (SO_LINGER 0)"
  case "TCP_ABORT_ON_DATA": " (data came after it had been closed)"
  case "TCP_ABORT_ON_MEMORY": " (the host's TCP memory is used up)"
  case "TCP_KEEPALIVE_TIMEOUT": " (its keepalive probes were not answered)"
  default: ""
  }
}
