import Evidence
import FoundationEssentials
import LabWorld
import LinuxHost
import Synchronization

/// What attach said of one request: the last revision of its incident.
struct DemoVerdicts {
  /// By `METHOD path`.
  private var byRequest: [String: Verdict] = [:]

  struct Verdict {
    var cause: String
    var probability: Double
    var upstream: String?
    var hasClose: Bool
  }

  func of(_ fault: InjectedFault) -> Verdict? { byRequest["\(fault.method) \(fault.path)"] }

  /// Reads attach's incidents, an object a line.
  static func read(_ path: String) throws -> DemoVerdicts {
    var verdicts = DemoVerdicts()
    let decoder = JSONDecoder()
    for line in try readFile(path).split(separator: UInt8(ascii: "\n")) {
      let incident = try decoder.decode(Line.self, from: Data(line))
      guard let request = incident.request else { continue }
      let words = request.split(separator: " ").prefix(2).joined(separator: " ")
      verdicts.byRequest[words] = Verdict(
        cause: incident.verdict.cause, probability: incident.verdict.probability,
        upstream: incident.upstream, hasClose: incident.close != nil)
    }
    return verdicts
  }

  private struct Line: Decodable {
    var request: String?
    var upstream: String?
    var verdict: Cause
    var close: Close?
    struct Cause: Decodable {
      var cause: String
      var probability: Double
    }
    struct Close: Decodable {}
  }
}

/// Each injected fault beside its verdict.
struct DemoTable {
  private var rows: [(fault: InjectedFault, verdict: DemoVerdicts.Verdict?)]

  init(faults: [InjectedFault], verdicts: DemoVerdicts) {
    rows = faults.map { ($0, verdicts.of($0)) }
  }

  var allRight: Bool { !rows.isEmpty && rows.allSatisfy { isRight($0.fault, $0.verdict) } }

  /// The cause and the upstream must be those of the fault, and a close must have been found where
  /// packets were sent.
  private func isRight(_ fault: InjectedFault, _ verdict: DemoVerdicts.Verdict?) -> Bool {
    guard let verdict else { return false }
    return verdict.cause == fault.expectedCause && verdict.upstream == fault.upstream.description
      && (verdict.hasClose || fault.kind == .peersDisabled)
  }

  func render(isColored: Bool) -> String {
    let what = max(14, rows.map(\.fault.what.count).max() ?? 0)
    var lines = ["", column("Injected fault", what + 4) + column("Verdict", 32) + "Right or wrong"]
    for (fault, verdict) in rows {
      let said = verdict.map { "\($0.cause) \(Int(($0.probability * 100).rounded(.down))) %" }
      let right = isRight(fault, verdict)
      let word = right ? "right" : "WRONG (expected \(fault.expectedCause))"
      let colored = isColored ? "\u{1b}[\(right ? 32 : 31)m\(word)\u{1b}[0m" : word
      let number = column("\(fault.id)", 4)
      lines.append(number + column(fault.what, what) + column(said ?? "none", 32) + colored)
    }
    let right = rows.filter { isRight($0.fault, $0.verdict) }.count
    lines.append("\(right) of \(rows.count) right")
    return lines.joined(separator: "\n")
  }

  private func column(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width + 1 - text.count))
  }
}

/// What the injector's thread leaves for the main thread.
final class InjectionResult: Sendable {
  private let result = Mutex<Result<[InjectedFault], any Error>?>(nil)

  func set(_ value: Result<[InjectedFault], any Error>) { result.withLock { $0 = value } }

  func get() throws -> [InjectedFault] { try result.withLock { try $0?.get() ?? [] } }
}
