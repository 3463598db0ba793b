import Evidence

@testable import PacketProbe

/// What is ours of a close, in one value.
struct Close: Equatable {
  var closer: Closer = .responder
  var manner: Manner? = .fin
  var phase: Phase = .idle
  var delivery: RequestDelivery = .neverSent
  var exchanges: Int? = 1
  var afterFIN = false
  var request: String?

  init(
    _ closer: Closer, _ manner: Manner?, _ phase: Phase, _ delivery: RequestDelivery,
    exchanges: Int? = 1, afterFIN: Bool = false, request: String? = nil
  ) {
    self.closer = closer
    self.manner = manner
    self.phase = phase
    self.delivery = delivery
    self.exchanges = exchanges
    self.afterFIN = afterFIN
    self.request = request
  }

  init?(_ connection: Connection?) {
    guard let connection else { return nil }
    self.init(
      connection.closer, connection.manner, connection.phase, connection.requestDelivery,
      exchanges: connection.exchanges, afterFIN: connection.requestAfterFIN,
      request: connection.request)
  }
}

let get = "GET /a?token=secret HTTP/1.1\r\nHost: b\r\n\r\n"
let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

extension Wire {
  func exchange() {
    client("P.", get)
    server(".")
    server("P.", ok)
    client(".")
  }
}
