import Evidence

/// nginx 1.29.7 and later keeps upstream connections though nobody asked for it (close-signatures
/// 4.20): an upgrade brought the race, not a change of the backend.
struct ChangedDefaults: CauseRule {
  let id = CauseID.changedDefaults
  private let race = StaleKeepalive()
  private let limit = RequestLimit()

  func weigh(_ c: Case) -> [EvidenceItem] {
    if c.line.message == .invalidResponse, Self.isNewlyRefused(c.line.text) {
      return [
        EvidenceItem(
          "nginx", "nginx before 1.23 accepted this answer: an upgrade may have brought the error",
          decibans: 27)
      ]
    }
    guard let group = c.group, group.keepaliveIsDefault == true else { return [] }
    // It is one of these races; which, is the rival's to say.
    let base = [race.weigh(c), limit.weigh(c)].max { Self.sum($0) < Self.sum($1) } ?? []
    guard Self.sum(base) > 0 else { return [] }
    let version = c.version.map { "nginx \($0)" } ?? "nginx"
    return base + [
      // Whoever tuned keepalive has a word of it in the configuration.
      EvidenceItem(
        "configuration",
        "\(version) keeps connections by default since 1.29.7; the configuration says nothing of it",
        decibans: 14)
    ]
  }

  private static func sum(_ items: [EvidenceItem]) -> Double {
    items.reduce(0) { $0 + $1.decibans }
  }

  /// Since 1.23.0 (ngx_http_upstream.c): duplicate headers, and length with chunks.
  private static func isNewlyRefused(_ text: String) -> Bool {
    text.contains("duplicate header line") || text.contains("headers at the same time")
  }

  func ruledOut(_ c: Case) -> String? {
    guard c.close?.requestAfterFIN == true, let group = c.group, group.keepalive != nil,
      group.keepaliveIsDefault != true
    else { return nil }
    return "keepalive is written in the configuration: no changed default"
  }

  func fix(_ c: Case) -> Fix? {
    if c.line.message == .invalidResponse {
      return Fix(
        text: "the backend must send Content-Length or Transfer-Encoding, not both, and "
          + "each header "
          + "once; proxy_http_version 1.0 keeps many backends from sending chunks")
    }
    let timeout = c.idleTimeout?.value ?? c.close?.idleBeforeClose
    let shorter = timeout.map { " (or keepalive_timeout below the backend's \($0))" } ?? ""
    return Fix(
      directive: "keepalive", value: "0", place: c.place,
      text: "that is how nginx was before the upgrade: a connection a request\(shorter)",
      tradeOff: "a new connection for each request, as before")
  }
}
