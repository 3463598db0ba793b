import Evidence

/// nginx gave up, by a timer or a limit of its own (close-signatures P, Q).
struct NginxClosedFirst: CauseRule {
  let id = CauseID.nginxClosedFirst

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard c.line.message.isNginxGivingUp, c.line.message != .connectTimedOut,
      c.line.message != .invalidResponse, c.line.message != .invalidChunked
    else { return [] }
    var items = [
      EvidenceItem("nginx", "nginx says that it gave up itself: \(c.line.text)", decibans: 25)
    ]
    if let close = c.close {
      if close.phase == .sendingRequest || close.phase == .awaitingResponse,
        close.requestDelivery != .acknowledged,
        close.requestDelivery != .partlyAcknowledged, close.history.contains("T")
      {
        items.append(
          EvidenceItem(
            "packets", "the backend's kernel never acknowledged the request: the network lost it",
            decibans: -15))
      }
      if close.closer == .originator {
        let wait = close.requestSentAt.flatMap { sent in close.closedAt.map { $0 - sent } }
        items.append(
          EvidenceItem(
            "packets", "nginx closed first\(wait.map { ", \($0) after its request" } ?? "")",
            decibans: 15, time: close.closedAt))
      } else if ![.headerTooBig, .invalidResponse, .invalidChunked].contains(c.line.message) {
        // Behind an answer that nginx refuses it may close as usual.
        items.append(
          EvidenceItem("packets", "the backend closed before nginx did", decibans: -15))
      }
    }
    return items
  }

  func fix(_ c: Case) -> Fix? {
    switch c.line.message {
    case .headerTooBig:
      return Fix(
        directive: "proxy_buffer_size", value: "16k",
        text: "the response's header is larger than the buffer; the buffers must follow "
          + "(proxy_buffers 8 16k; proxy_busy_buffers_size 32k;)",
        tradeOff: "memory per connection")
    case .headerTimedOut, .bodyTimedOut:
      let waited =
        c.close?.idleBeforeClose
        ?? c.close.flatMap { close in
          close.requestSentAt.flatMap { sent in close.closedAt.map { $0 - sent } }
        }
      return Fix(
        directive: "proxy_read_timeout",
        text: "the backend was silent for \(waited.map(\.description) ?? "longer than the limit"): "
          + "make it answer sooner, or raise the limit where a request may take that long",
        tradeOff: "slow requests hold connections longer")
    case .sendTimedOut:
      return Fix(
        directive: "proxy_send_timeout",
        text:
          "the backend does not read what it is sent: it is stuck, or the body is too large for it")
    default:
      return nil
    }
  }
}
