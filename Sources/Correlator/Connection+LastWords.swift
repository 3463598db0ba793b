import Evidence

extension Connection {
  /// The connection with what its backend's socket told when it went: where packets were captured
  /// lightly, that alone says whether a request was unanswered.
  ///
  /// The kernel keeps the moments of the last data in either direction in milliseconds since boot
  /// (Linux net/ipv4/tcp.c `tcp_get_info`: `tcpi_last_data_sent`, `tcpi_last_data_recv`); which came
  /// later is told unless both were in the same tick.
  func completed(_ words: SocketDeath) -> Connection {
    guard isLight, phase == .unknown, closer == .responder else { return self }
    var whole = self
    guard let received = words.sinceDataReceived, (words.bytesReceived ?? 0) > 0 else {
      // Nothing ever came in: no request was read.
      if words.bytesReceived == 0 {
        whole.phase = .idle
        whole.exchanges = 0
      }
      return whole
    }
    // The FIN is acknowledged as one byte (RFC 9293 3.4).
    let hasAnswered = (words.bytesAcknowledged ?? 0) > 1
    guard let sent = words.sinceDataSent, hasAnswered, sent <= received else {
      // It was spoken to last, and had not answered.
      whole.phase = .awaitingResponse
      whole.requestDelivery = .acknowledged
      return whole
    }
    // Resolution 10 ms at worst: an answer within the same tick looks like an answer in any case.
    whole.phase = .idle
    if let gone = closedAt {
      // Its last data until its end, less what passed between the close and the end.
      let idle = sent - (lastPacket - gone)
      whole.idleBeforeClose = idle > .zero ? idle : .zero
    }
    return whole
  }
}
