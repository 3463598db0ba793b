import Correlator
import Evidence

/// The sentence that matters, what was measured behind it, and the fix: what a reader must see first.
struct Headline {
  /// As `41 of 43 upstream errors: stale keepalive race, 10.0.1.11:8080`.
  var sentence: String
  /// What was measured.
  var detail: String?
  var fix: Fix?
  /// What was looked for and not found, in each incident of the finding.
  var ruledOut: [String]
  var isGood: Bool

  init(_ summary: Summary) {
    let errors = summary.books.errors
    guard let top = summary.findings.first else {
      isGood = errors == 0
      sentence =
        errors == 0
        ? "No upstream error was logged." : "\(Self.counted(errors)), and no cause was found."
      ruledOut = []
      return
    }
    isGood = errors == 0
    detail = top.text
    fix = top.fix
    if top.errors == 0 {
      sentence =
        (errors == 0 ? "No upstream error yet, but one will come: " : "")
        + "\(top.cause.title), \(top.upstream)"
    } else {
      let share = top.errors == errors ? "" : "\(top.errors) of "
      sentence = "\(share)\(Self.counted(errors)): \(top.cause.title), \(top.upstream)"
    }
    let like = summary.incidents.lazy.filter {
      $0.upstream == top.upstream && $0.verdict.cause == top.cause
    }
    fix = fix ?? like.first?.fix
    var common: [String] = Array(like.first?.ruledOut ?? [])
    for incident in like.dropFirst() where !common.isEmpty {
      common.removeAll { !incident.ruledOut.contains($0) }
    }
    ruledOut = common
  }

  private static func counted(_ errors: Int) -> String {
    "\(errors) upstream error\(errors == 1 ? "" : "s")"
  }
}

extension Summary {
  /// As `2026-11-24 11:34:15 to 11:34:41 (26.3 s)`.
  func span(utcOffset: Int) -> String? {
    guard let started, let ended else { return nil }
    let from = started.iso8601(offset: utcOffset, digits: 0)
    let to = ended.iso8601(offset: utcOffset, digits: 0)
    let day = from.prefix(10)
    let zone = to.dropFirst(19)
    let end =
      to.prefix(10) == day ? String(to.dropFirst(11).prefix(8)) : Self.readable(to.prefix(19))
    return "\(Self.readable(from.prefix(19))) to \(end) \(zone == "Z" ? "UTC" : String(zone)) "
      + "(\(ended - started))"
  }

  private static func readable(_ time: Substring) -> String {
    time.split(separator: "T").joined(separator: " ")
  }
}
