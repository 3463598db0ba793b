import Evidence

/// The kernel's out-of-memory killer ended the backend (close-signatures E, F).
struct OutOfMemoryKill: CauseRule {
  let id = CauseID.oomKill
  let prior = -10.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    c.weighDeaths(
      source: "kernel", watched: c.watchedKernel, missing: "no OOM kill in the kernel log",
      words: words)
  }

  private func words(_ death: Death) -> String? {
    guard case .oom(let kill) = death.how else { return nil }
    return "the OOM killer killed pid \(kill.pid) (\(kill.command))" + detail(kill)
  }

  private func detail(_ kill: OOMKill) -> String {
    var text = ""
    if let resident = kill.residentBytes { text += " at \(byteText(resident)) resident" }
    if let limit = kill.limitBytes { text += ", limit \(byteText(limit))" }
    if let cgroup = kill.cgroup { text += ", cgroup \(cgroup)" }
    return text
  }

  func ruledOut(_ c: Case) -> String? {
    c.watchedKernel ? "no OOM kill in the kernel log" : nil
  }

  func fix(_ c: Case) -> Fix? {
    guard let death = c.likeliestDeath(words)?.death, case .oom(let kill) = death.how else {
      return nil
    }
    let limit = kill.limitBytes.map { " of \(byteText($0))" } ?? ""
    let place = kill.isMemoryCgroup == false ? "the host's memory" : "its memory limit\(limit)"
    return Fix(
      text: "\(kill.command) outgrew \(place)"
        + (kill.cgroup.map { " (cgroup \($0))" } ?? "")
        + ": raise it (MemoryMax= in the unit, or the container's limit), or find the leak",
      tradeOff: "a higher limit only delays a leak")
  }
}

/// Bytes as people read them: `61.3 MiB`.
func byteText(_ bytes: UInt64) -> String {
  let units = ["B", "KiB", "MiB", "GiB", "TiB"]
  var value = Double(bytes)
  var unit = 0
  while value >= 1024, unit < units.count - 1 {
    value /= 1024
    unit += 1
  }
  if unit == 0 || value >= 100 || value == value.rounded() { return "\(Int(value)) \(units[unit])" }
  return "\((value * 10).rounded() / 10) \(units[unit])"
}
