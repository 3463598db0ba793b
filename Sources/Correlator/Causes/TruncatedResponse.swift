import Evidence

/// The body broke off: the client has a 200 and half an answer (close-signatures I, J).
struct TruncatedResponse: CauseRule {
  let id = CauseID.truncatedResponse

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard c.line.message.isInBody, c.line.message != .bodyTimedOut else { return [] }
    var items = [
      EvidenceItem("nginx", "the response header was complete, the body was not", decibans: 25)
    ]
    if let close = c.close, close.closer == .responder {
      let size = close.responseBytes.map { " after \($0) bytes of the response" } ?? ""
      items.append(
        EvidenceItem(
          "packets", "the backend closed\(size)",
          decibans: 8, time: close.closedAt))
    }
    if c.ownerDied {
      // Still truncated, but the death is the reason.
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -25))
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text:
        "the client got a status of success and a short body: look for these by bytes sent, not "
        + "by status, and read the backend's log at that second")
  }
}
