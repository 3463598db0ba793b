/// All outcomes of a run, counted.
struct Score {
  var outcomes: [Outcome] = []
  /// A scenario where nothing was wrong, and what was said all the same.
  var falseAlarms: [String] = []

  /// Of the faults whose connection the lab knows, the part with the right close.
  var closeAccuracy: Double {
    let known = outcomes.filter { $0.close != .unrecorded }
    return Self.part(known.filter { $0.close == .right }.count, known.count)
  }

  var causeAccuracy: Double {
    Self.part(outcomes.filter(\.causeIsRight).count, outcomes.count)
  }

  /// Of the verdicts that say 90 % or more, the part that is wrong.
  var sureAndWrong: Double {
    let sure = outcomes.filter { $0.said.map { $0.probability >= 0.9 } ?? false }
    return Self.part(sure.filter { !$0.causeIsRight }.count, sure.count)
  }

  static func part(_ count: Int, _ whole: Int) -> Double {
    whole == 0 ? 0 : Double(count) / Double(whole)
  }

  /// The targets of accuracy over all scenarios; lower bounds where a few scenarios are a test, which
  /// may run on a machine that is slow or busy.
  struct Targets: Sendable {
    var close = 0.99
    var cause = 0.97
    var sureAndWrong = 0.05

    static let full = Targets()
    static let test = Targets(close: 0.9, cause: 0.85, sureAndWrong: 0.15)
  }

  func isGood(_ targets: Targets) -> Bool {
    falseAlarms.isEmpty
      && (outcomes.isEmpty
        || closeAccuracy >= targets.close && causeAccuracy >= targets.cause
          && sureAndWrong <= targets.sureAndWrong)
  }
}

extension Score {
  /// True cause by verdict: every pair that occurred, the wrong ones marked.
  var confusion: String {
    var cells: [String: [String: Int]] = [:]
    for outcome in outcomes {
      cells[outcome.cause, default: [:]][outcome.said?.cause ?? "no incident", default: 0] += 1
    }
    var lines = [row(["true cause", "faults", "right", "taken for"])]
    for (cause, said) in cells.sorted(by: { $0.key < $1.key }) {
      let all = said.values.reduce(0, +)
      let right = outcomes.filter { $0.cause == cause && $0.causeIsRight }.count
      let wrong = outcomes.filter { $0.cause == cause && !$0.causeIsRight }
      let names = Dictionary(grouping: wrong) { $0.said?.cause ?? "no incident" }
      let text = names.sorted { $0.value.count > $1.value.count }
        .map { "\($0.key) \($0.value.count)" }.joined(separator: ", ")
      lines.append(row([cause, "\(all)", percent(right, all), text]))
    }
    return lines.joined(separator: "\n")
  }

  var matching: String {
    Outcome.Close.allCases.map { close in
      "\(close.rawValue) \(outcomes.filter { $0.close == close }.count)"
    }.joined(separator: ", ")
  }

  /// Stated probability against the frequency of being right.
  var calibration: String {
    let bins = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.995, 1.01]
    var lines = [row(["stated", "verdicts", "mean", "right"])]
    for (low, high) in zip(bins, bins.dropFirst()) {
      let inside = outcomes.filter {
        guard let said = $0.said else { return false }
        return low <= said.probability && said.probability < high
      }
      guard !inside.isEmpty else { continue }
      let mean = inside.map { $0.said?.probability ?? 0 }.reduce(0, +) / Double(inside.count)
      lines.append(
        row([
          "\(tenths(low))-\(tenths(min(high, 1))) %", "\(inside.count)", "\(tenths(mean)) %",
          percent(inside.filter(\.causeIsRight).count, inside.count),
        ]))
    }
    return lines.joined(separator: "\n")
  }

  var closing: String {
    guard !outcomes.isEmpty else {
      return falseAlarms.isEmpty ? "quiet: nothing was said" : "quiet: FALSE ALARMS"
    }
    return """
      faults \(outcomes.count): right close \(tenths(closeAccuracy)) % (target 99), right cause \
      \(tenths(causeAccuracy)) % (target 97), wrong at 90 % or more \(tenths(sureAndWrong)) % \
      (at most 5)
      """
  }

  func percent(_ count: Int, _ whole: Int) -> String { "\(tenths(Self.part(count, whole))) %" }

  func tenths(_ part: Double) -> String {
    let value = Int((part * 1000).rounded())
    return value % 10 == 0 ? "\(value / 10)" : "\(value / 10).\(value % 10)"
  }

  private func row(_ cells: [String]) -> String {
    let widths = [26, 9, 9, 0]
    return zip(cells, widths).map { text, width in
      text + String(repeating: " ", count: max(1, width - text.count))
    }.joined()
  }
}
