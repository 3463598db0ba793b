import CLinux
import Evidence
import Glibc
import LabWorld
import LinuxHost

/// Runs scenarios one after the other and prints what came of them.
struct LabRun {
  var scenarios: [Scenario]
  var options: LabOptions
  var keep: String?
  var seconds: Int?
  var targets = Score.Targets.full

  /// - Returns: whether the targets are met.
  func run() throws -> Bool {
    var score = Score()
    var broken: [String] = []
    print("access log: \(options.logs.rawValue)")
    for scenario in scenarios {
      do {
        let result = try ScenarioRun(
          scenario: scenario, options: options, keep: keep, seconds: seconds
        ).run()
        show(result)
        // Whoever reads a pipe or a file sees each as it comes.
        fflush(nil)
        score.outcomes += result.judgement.outcomes
        if scenario.isQuiet { score.falseAlarms += falseAlarms(result) }
      } catch {
        broken.append("\(scenario.name): \(error)")
        print("\(scenario.name): COULD NOT RUN: \(error)")
      }
    }
    show(score)
    for problem in broken { print("could not run: \(problem)") }
    return score.isGood(targets) && broken.isEmpty
  }

  private func show(_ result: ScenarioResult) {
    var score = Score()
    score.outcomes = result.judgement.outcomes
    let seconds = Double(result.injecting) / 1000
    let rate = (Double(score.outcomes.count) / max(0.001, seconds) * 10).rounded() / 10
    print(
      "\(result.scenario.name): \(score.closing); \(rate)/s; closes \(score.matching); "
        + "\(result.judgement.bystanders.count) bystanders; \(result.total / 1000) s")
    for source in result.report.books.sources where source.lost > 0 {
      print("  \(source.source): \(source.lost) LOST")
    }
    let failures = result.judgement.failures.sorted { $0.key < $1.key }
    for (reason, count) in failures.prefix(12) { print("  not made: \(reason) (\(count))") }
    if failures.count > 12 { print("  ... and \(failures.count - 12) other reasons") }
    for outcome in result.judgement.outcomes.filter(\.isWrong) { print("  " + outcome.wrongLine) }
  }

  private func falseAlarms(_ result: ScenarioResult) -> [String] {
    let said = result.judgement.bystanders.map { "\(result.scenario.name): incident \($0.line)" }
    let findings = result.report.findings.map {
      "\(result.scenario.name): finding \($0.upstream) \($0.cause): \($0.text)"
    }
    for line in said + findings { print("  FALSE " + line) }
    return said + findings
  }

  private func show(_ score: Score) {
    print("")
    if !score.outcomes.isEmpty {
      print("Cause\n\(score.confusion)\n")
      print("Calibration\n\(score.calibration)\n")
      print("Close\n\(score.matching)\n")
    }
    print(score.closing)
    print(score.isGood(targets) ? "targets met" : "TARGETS MISSED")
    fflush(nil)
  }
}

extension Outcome {
  /// Why it is wrong, in full.
  var wrongLine: String {
    let ports = ports.map { $0.sorted().map(String.init).joined(separator: " ") } ?? "unrecorded"
    return """
      WRONG \(truth.kind) \(truth.token): true \(truth.cause) on \(upstream) port [\(ports)], \
      close \(close.rawValue); said \(said?.line ?? "nothing")
      """
  }
}
