import ArgumentParser
import Evidence
import LinuxHost
import NginxProbe
import Report

struct AuditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit",
    abstract: "An nginx configuration against what makes its upstream connections fail.",
    discussion: """
      Without a file: every nginx that runs here, by what its configuration says and what this host \
      allows it. With one: nginx.conf (what it includes is read), or the output of nginx -T; then \
      --nginx-version says whose defaults hold. --session takes what was measured (the backends' \
      idle timeouts) from the JSON report of an attach or a replay.

        upclose audit
        nginx -T | upclose audit - --nginx-version 1.29.7
        upclose audit /etc/nginx/nginx.conf --format sarif --output nginx.sarif

      Errors and warnings make exit code 1. Notes do not: whether they matter is up to the backends.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json, sarif }

  @Argument(help: "nginx.conf, or the output of nginx -T (- for stdin).")
  var file: String?

  @Option(help: ArgumentHelp("The nginx master to look at, if several run.", valueName: "master"))
  var pid: Int32?

  @Option(help: ArgumentHelp("Whose defaults hold for the file.", valueName: "1.22.1"))
  var nginxVersion: NginxVersionArgument?

  @Option(
    help: ArgumentHelp(
      "The JSON document of an attach or a replay, for what it measured.", valueName: "file"))
  var session: String?

  @Option(help: "text, json or sarif (2.1.0).")
  var format = Format.text

  @Option(help: ArgumentHelp("Write to this file.", valueName: "file"))
  var output: String?

  @Option(help: "auto, always or never (NO_COLOR is respected).")
  var color = ColorChoice.auto

  func run() throws {
    let target: Output
    let results: [AuditResult]
    do {
      target = try Output(path: output)
      let measured = try session.map(SessionMeasurements.read) ?? []
      results = try loaded().map { loaded in
        let subject = AuditSubject(loaded, measured: measured, host: HostFacts(of: loaded))
        return AuditResult(loaded: loaded, findings: Audit.findings(in: subject))
      }
    } catch {
      throw fail("\(error)")
    }
    switch format {
    case .text:
      target.write(
        AuditReport.text(results, isColored: color.isColored(target.descriptor)))
    case .json: target.write(AuditReport.json(results).pretty + "\n")
    case .sarif:
      target.write(
        AuditReport.sarif(results, version: Upclose.configuration.version).pretty + "\n")
    }
    target.flush()
    if let failure = target.failure { throw fail(failure) }
    if results.contains(where: { $0.findings.contains { $0.severity >= .warning } }) {
      throw Exit.found
    }
  }

  private func loaded() throws -> [LoadedNginx] {
    if let file { return [try LoadedNginx(file: file, version: nginxVersion?.version)] }
    let discovery = NginxDiscovery()
    let found = discovery.find().filter { nginx in
      pid.map { $0 == nginx.master || nginx.workers.contains($0) } ?? true
    }
    guard !found.isEmpty else {
      throw ProbeError(
        doing: "find nginx",
        reason: pid == nil
          ? "no master process runs (\(discovery.whereItLooks))" : "no nginx has this pid",
        remedy: "give its configuration: upclose audit /etc/nginx/nginx.conf")
    }
    return try found.map { try $0.load() }
  }
}

/// A version on the command line.
struct NginxVersionArgument: ExpressibleByArgument {
  var version: NginxVersion

  init?(argument: String) {
    guard let version = NginxVersion(argument) else { return nil }
    self.version = version
  }
}
