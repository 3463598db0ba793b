import Evidence

/// TLS towards the upstream failed.
struct TLSFailure: CauseRule {
  let id = CauseID.tlsFailure

  func weigh(_ c: Case) -> [EvidenceItem] {
    switch c.line.message {
    case .tlsClosed, .tlsHandshakeFailed, .tlsTransferFailed, .tlsTimedOut, .tlsCertificateRejected:
      [EvidenceItem("nginx", c.line.text, decibans: 28, time: c.time.best)]
    default: []
    }
  }

  func fix(_ c: Case) -> Fix? {
    c.line.message == .tlsCertificateRejected
      ? Fix(
        directive: "proxy_ssl_name",
        text: "the backend's certificate does not verify: correct the name or the trusted CA "
          + "(proxy_ssl_trusted_certificate)")
      : Fix(
        directive: "proxy_ssl_server_name", value: "on",
        text:
          "many backends close a handshake without the right server name; compare protocols and "
          + "ciphers: openssl s_client -connect HOST:PORT -servername NAME")
  }
}
