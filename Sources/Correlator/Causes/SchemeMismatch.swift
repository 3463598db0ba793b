import Evidence

/// https to a plain port, or http to a TLS port (close-signatures H, H2, H3).
struct SchemeMismatch: CauseRule {
  let id = CauseID.schemeMismatch
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    if let word = c.voice([.wrongProtocol]) {
      return [word, EvidenceItem("nginx", c.line.text, decibans: 8)]
    }
    if let items = plainToTLS(c) { return items }
    // OpenSSL's words for bytes that are not a TLS record: a plain-text answer.
    guard c.line.message == .tlsHandshakeFailed, c.line.text.contains("wrong version number")
    else { return [] }
    return [
      EvidenceItem(
        "nginx", "the backend answered the handshake in plain text (wrong version number)",
        decibans: 45, time: c.time.best)
    ]
  }

  /// Plain HTTP on a port that speaks TLS: it closes at once, each time, whatever is asked.
  private func plainToTLS(_ c: Case) -> [EvidenceItem]? {
    guard c.line.scheme == "http" || c.line.scheme == "grpc", let close = c.close,
      close.closer == .responder,
      close.phase == .awaitingResponse || c.line.message == .noValidHeader
        || c.line.message == .recvFailed,
      !close.requestAfterFIN, c.answered == 0
    else { return nil }
    var items: [EvidenceItem] = []
    if c.checks.speaksTLS == true {
      items.append(EvidenceItem("ports", "the port answered our TLS greeting in TLS", decibans: 40))
    }
    let port = c.line.upstream?.endpoint?.port ?? 0
    if port == 443 || port == 8443 {
      items.append(EvidenceItem("nginx", "\(port) is a port of TLS", decibans: 10))
    }
    if c.upstreamErrors >= 4, (close.responseBytes ?? 0) == 0, !c.ownerDied, c.pool.ended == 0,
      let age = MasterTimeout.age(c),
      age < .milliseconds(50)
    {
      // An application that fails fails some requests; a port of another protocol fails each at once.
      items.append(
        EvidenceItem(
          "packets",
          "none of \(c.upstreamErrors + 1) requests on this upstream was ever answered, this one was "
            + "closed after \(age)", decibans: c.upstreamErrors >= 12 ? 50 : 43))
    }
    return items.isEmpty ? nil : items
  }

  func ruledOut(_ c: Case) -> String? {
    c.answered > 10 ? "the backend answers other requests over the same protocol" : nil
  }

  func fix(_ c: Case) -> Fix? {
    if c.line.scheme == "http" || c.line.scheme == "grpc" {
      return Fix(
        directive: c.line.scheme == "grpc" ? "grpc_pass" : "proxy_pass",
        value: c.line.scheme == "grpc" ? "grpcs://…" : "https://…",
        text: "the port speaks TLS: change the scheme (and set proxy_ssl_server_name on), "
          + "or the port")
    }
    return Fix(
      directive: "proxy_pass", value: "http://…",
      text: "the port speaks plain HTTP: change the scheme, or the port")
  }
}
