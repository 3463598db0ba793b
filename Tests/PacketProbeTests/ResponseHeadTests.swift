import Evidence
import Testing

@testable import PacketProbe

/// Responses whose header comes in pieces, or not to its end.
@Suite struct ResponseHeadTests {
  /// A request, and then what the responder sends, one segment each; the last ends the connection.
  private func answer(_ pieces: [String], _ end: String = "F.") -> Connection? {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".")
    for piece in pieces {
      wire.server("P.", piece)
      wire.client(".")
    }
    wire.server(end)
    return wire.connection()
  }

  /// It was said to be idle, and nginx's error found no close.
  @Test(
    arguments: [
      "H", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Le",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r", "HTTP/1.1 204 No Content\r\nX: y\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
    ], ["F.", "R."])
  func `half a header, and then the end`(head: String, end: String) {
    let manner: Manner = end == "F." ? .fin : .activeReset
    #expect(
      Close(answer([head], end))
        == Close(.responder, manner, .receivingResponse, .acknowledged, request: "GET /a"))
  }

  /// Where the length was read, what follows is measured by it; where the first piece ended within
  /// its field, or within the status line, nobody knows.
  @Test(arguments: [1, 2, 7, 11, 12, 16, 17, 18, 20, 33, 35, 36, 37, 38, 39, 43])
  func `a header in two pieces is one`(cut: Int) {
    let whole = Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".utf8)
    func phase(without missing: Int) -> Phase? {
      let pieces = [whole[..<cut], whole[cut...].dropLast(missing)]
      return answer(pieces.filter { !$0.isEmpty }.map { String(decoding: $0, as: UTF8.self) })?
        .phase
    }
    let isKnown = cut >= 12 && cut <= 17 || cut >= 36
    #expect(phase(without: 0) == (isKnown ? .idle : .unknown))
    if cut < 40 { #expect(phase(without: 2) == (isKnown ? .receivingResponse : .unknown)) }
  }

  @Test func `a body that ends with the connection is whole with a FIN, and cut by a reset`() {
    let response = ["HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", " world"]
    #expect(Close(answer(response)) == Close(.responder, .fin, .idle, .neverSent))
    #expect(
      Close(answer(response, "R."))
        == Close(.responder, .activeReset, .receivingResponse, .acknowledged, request: "GET /a"))
  }

  @Test func `a header that the snap length cut does not tell whether the body was whole`() {
    let wire = Wire()
    wire.snapLength = 80
    wire.handshake()
    wire.client("P.", get)
    wire.server("P.", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    wire.server("F.")
    let soon = wire.connection()
    #expect(soon?.phase == .unknown)
    #expect(soon?.requestDelivery == .unknown)
    wire.packets.removeLast()
    wire.server("F.", after: 2000)
    #expect(wire.connection()?.phase == .idle)
  }

  @Test func `a piece that was lost may have held the header's end`() {
    let wire = Wire()
    wire.handshake()
    wire.client("P.", get)
    wire.server(".", "HTTP/1.1 200 OK\r\nContent-Le")
    wire.server(".", "ngth: 5\r\n\r\nhello", lost: true)
    wire.server("P.", "and so on")
    wire.client(".")
    wire.server("F.")
    #expect(wire.connection()?.phase == .unknown)
  }
}
