import Evidence

/// nginx does not accept what the backend sent.
struct InvalidResponse: CauseRule {
  let id = CauseID.invalidResponse

  func weigh(_ c: Case) -> [EvidenceItem] {
    switch c.line.message {
    case .invalidResponse, .invalidChunked, .protocolError, .prematureResponse, .noValidHeader:
      [EvidenceItem("nginx", c.line.text, decibans: 35, time: c.time.best)]
    default: []
    }
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      text: "the backend's answer is malformed; capture one: curl -v --raw to the upstream itself")
  }
}
