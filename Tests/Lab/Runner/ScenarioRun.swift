import Evidence
import Glibc
import LabWorld
import LinuxHost

/// What came of one scenario.
struct ScenarioResult {
  var scenario: Scenario
  var judgement: Judgement
  var report: SessionReport
  /// Milliseconds from the first fault to the last.
  var injecting: Int64
  /// Milliseconds in all.
  var total: Int64
}

/// Builds a scenario, runs attach beside it, injects its faults, and judges what was said.
struct ScenarioRun {
  var scenario: Scenario
  var options: LabOptions
  /// Where the logs, the truth and the incidents are copied to.
  var keep: String?
  /// Faults are made no longer than this.
  var seconds: Int?

  func run() throws -> ScenarioResult {
    let begin = monotonicMilliseconds()
    let bed = try Bed.build(scenario, options)
    defer {
      for problem in bed.tearDown() { complain("left behind: \(problem)") }
    }
    let attach = try Attach(bed)
    let injectingSince = monotonicMilliseconds()
    let loads = try scenario.load.flatMap { try Load(bed: bed, spec: $0).start() }
    defer { for thread in loads { thread.stop() } }
    try inject(bed)
    let injected = monotonicMilliseconds() - injectingSince
    for thread in loads { thread.stop() }
    // The last verdicts, and what revises them.
    usleep(1_500_000)
    guard [0, 1].contains(try attach.end()) else {
      throw ProbeError(
        doing: "run upclose attach", reason: tail(of: "\(bed.directory)/attach.err"))
    }
    let judgement = Judgement(bed, said: try Said.read(attach.incidents))
    if let keep { copy(bed, judgement, to: "\(keep)/\(scenario.name)") }
    return ScenarioResult(
      scenario: scenario, judgement: judgement, report: try SessionReport.read(attach.document),
      injecting: injected, total: monotonicMilliseconds() - begin)
  }

  private func inject(_ bed: Bed) throws {
    if scenario.isQuiet { usleep(UInt32(seconds ?? scenario.seconds) * 1_000_000) }
    var stream = 0
    for phase in scenario.phases {
      var threads: [ProbeThread] = []
      for fault in phase {
        stream += 1
        let injection = Injection(bed: bed, fault: fault, stream: stream)
        threads.append(
          try ProbeThread.start("lab-stream") { _ in
            do {
              try injection.run()
            } catch {
              bed.book.addFailure(fault.kind, "\(error)")
            }
          })
      }
      for thread in threads { thread.stop() }
    }
  }

  private func copy(_ bed: Bed, _ judgement: Judgement, to target: String) {
    let output = "\(bed.directory).cp"
    guard let cp = findProgram("cp"), let mkdir = findProgram("mkdir") else { return }
    do {
      try runProgram(mkdir, ["-p", target], output: output)
      try runProgram(cp, ["-rT", bed.directory, target], output: output)
      let truth = judgement.outcomes.map { $0.truthLine + "\n" }.joined()
      try writeFile(truth, to: "\(target)/truth.ndjson")
    } catch {
      complain("\(error)")
    }
  }
}

extension Outcome {
  /// The truth alone, one line of JSON.
  var truthLine: String {
    let ports = ports.map { "[" + $0.sorted().map(String.init).joined(separator: ",") + "]" }
    return """
      {"token":"\(truth.token)","kind":"\(truth.kind)","cause":"\(truth.cause)",\
      "upstream":"\(upstream)","ports":\(ports ?? "null"),"begin":"\(truth.answer.begin)",\
      "end":"\(truth.answer.end)","status":\(truth.answer.status.map(String.init) ?? "null")}
      """
  }
}

/// One sentence on standard error.
func complain(_ sentence: String) {
  let bytes = Array("lab: \(sentence)\n".utf8)
  _ = write(2, bytes, bytes.count)
}
