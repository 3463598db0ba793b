import Evidence

/// The upstream's name did not resolve.
struct NameResolution: CauseRule {
  let id = CauseID.nameResolution

  func weigh(_ c: Case) -> [EvidenceItem] {
    guard c.line.message == .nameResolutionFailed || c.line.message == .noPort else { return [] }
    return [EvidenceItem("nginx", c.line.text, decibans: 45, time: c.time.best)]
  }

  func fix(_ c: Case) -> Fix? {
    Fix(
      directive: "resolver", text: "check the name and the resolver that nginx is given",
      tradeOff: nil)
  }
}
