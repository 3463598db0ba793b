import Evidence

/// https to a plain port, or http to a TLS port (close-signatures H, H2, H3).
struct SchemeMismatch: CauseRule {
  let id = CauseID.schemeMismatch
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    // OpenSSL's words for bytes that are not a TLS record: a plain-text answer.
    guard c.line.message == .tlsHandshakeFailed, c.line.text.contains("wrong version number")
    else { return [] }
    return [
      EvidenceItem(
        "nginx", "the backend answered the handshake in plain text (wrong version number)",
        decibans: 45, time: c.time.best)
    ]
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      directive: "proxy_pass", value: "http://…",
      text: "the port speaks plain HTTP: change the scheme, or the port")
  }
}
