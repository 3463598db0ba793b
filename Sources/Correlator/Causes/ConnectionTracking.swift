import Evidence

/// Connection tracking on the way lost the connection, or had no room for it (close-signatures 4.12):
/// a packet that it takes for INVALID is not translated, and the host that gets it knows no such
/// socket and resets it; a full table drops SYNs.
struct ConnectionTracking: CauseRule {
  let id = CauseID.conntrack
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    if isConnecting(c) { return weighSYN(c) }
    guard let close = c.close, close.responderReset?.manner == .passiveReset,
      close.responderFIN == nil, !close.requestAfterFIN, close.manner != .refused
    else { return [] }
    var items: [EvidenceItem] = []
    if close.phase == .receivingResponse || close.phase == .sendingRequest {
      // A host forgets no socket that it is sending from: something in between did.
      items.append(
        EvidenceItem(
          "packets",
          "in mid-transfer a host that knows no such socket reset it (no ACK, window 0)",
          decibans: 25, time: close.responderReset?.time))
    } else {
      items.append(
        EvidenceItem(
          "packets", "a host that knows no such socket reset it, without a FIN before",
          decibans: 12, time: close.responderReset?.time))
    }
    items += counters(c)
    if let owner = c.ownerName, !c.ownerDied {
      items.append(
        EvidenceItem("processes", "\(owner), which owned it, is still running", decibans: 4))
    }
    return items
  }

  private func isConnecting(_ c: Case) -> Bool {
    c.line.message == .connectTimedOut || c.line.message == .connectFailed && c.line.errno == 110
  }

  private func weighSYN(_ c: Case) -> [EvidenceItem] {
    guard c.tracking.isFull != nil || c.tracking.dropped > 0 || (c.tracking.level ?? 0) > 0.95
    else { return [] }
    return [EvidenceItem("nginx", "no answer to the SYN in time", decibans: 12)] + counters(c)
  }

  private func counters(_ c: Case) -> [EvidenceItem] {
    var items: [EvidenceItem] = []
    if let full = c.tracking.isFull {
      // The kernel's own words, and limited to a few a second.
      items.append(EvidenceItem("kernel", full.text, decibans: 30))
    } else if c.tracking.dropped > 0 {
      items.append(
        EvidenceItem(
          "sockets", "connection tracking dropped \(c.tracking.dropped) packets in those seconds",
          decibans: 15))
    } else if c.tracking.invalid > 0 {
      // Stray packets are INVALID on any host: it says a little.
      items.append(
        EvidenceItem(
          "sockets",
          "connection tracking took \(c.tracking.invalid) packets for INVALID in those seconds",
          decibans: 8))
    } else if c.tracking.isWatched {
      // The tracker may stand on another host.
      items.append(
        EvidenceItem("sockets", "connection tracking dropped nothing on this host", decibans: -8))
    }
    if let level = c.tracking.level, level > 0.9 {
      items.append(
        EvidenceItem(
          "sockets", "its table is \(Int(level * 100)) % full", decibans: level > 0.98 ? 12 : 5))
    }
    return items
  }

  func ruledOut(_ c: Case) -> String? {
    let couldBe = isConnecting(c) || c.close?.responderReset?.manner == .passiveReset
    return couldBe && c.tracking.isWatched && c.tracking.dropped == 0 && c.tracking.isFull == nil
      ? "connection tracking on this host dropped nothing" : nil
  }

  func fix(_ c: Case) -> Fix? {
    if c.tracking.isFull != nil || (c.tracking.level ?? 0) > 0.9 || c.tracking.dropped > 0 {
      return Fix(
        text: "the table of connection tracking is full: raise "
          + "net.netfilter.nf_conntrack_max, shorten "
          + "its time-outs, or exempt the upstream's traffic (NOTRACK); reuse connections (keepalive)",
        tradeOff: "about 300 bytes of kernel memory an entry")
    }
    return Fix(
      text: "let connection tracking pass what it takes for out of window "
        + "(net.netfilter.nf_conntrack_tcp_be_liberal=1), or drop INVALID packets instead of "
        + "delivering them untranslated",
      tradeOff: "a laxer check of sequence numbers on that host")
  }
}
