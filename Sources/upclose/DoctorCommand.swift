import ArgumentParser
import Evidence
import LinuxHost
import NginxProbe

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "What this host lets upclose see of nginx, and how to see more.",
    discussion: """
      Looks at the rights of this process, and at each running nginx: its logs, their levels and \
      formats. Prints the log_format that makes the join of a request with its errors, its tries and \
      their packets exact. Changes nothing. Exit code 1 when something is not seen.
      """)

  @Option(help: ArgumentHelp("The nginx master to look at, if several run.", valueName: "master"))
  var pid: Int32?

  @Option(
    help: ArgumentHelp("Look at this nginx.conf (or nginx -T) instead.", valueName: "file"))
  var nginxConfig: String?

  func run() throws {
    var lines: [String] = []
    var isComplete = true
    if nginxConfig == nil {
      let missing = Privileges.missing()
      lines.append(
        missing.isEmpty ? "rights: all that attach needs" : "rights: these lack (run as root):")
      lines += missing.map { "  \($0.capability): \($0.loses)" }
      isComplete = missing.isEmpty
    }
    let all: [LoadedNginx]
    do {
      all = try loaded()
    } catch {
      throw fail("\(error)")
    }
    for nginx in all {
      lines.append("")
      lines += describe(nginx)
      if !nginx.blindSpots.isEmpty { isComplete = false }
      for log in accessLogs(nginx) where !log.missing.isEmpty { isComplete = false }
    }
    if all.contains(where: { nginx in !accessLogs(nginx).contains { $0.missing.isEmpty } }) {
      lines += ["", "write in http, and reload nginx:", ""]
      let format = AccessLogFormat.recommendedDirective.split(separator: "\n").map { "    " + $0 }
      lines += format
      lines.append("    access_log /var/log/nginx/upclose-access.log upclose;")
    }
    do {
      let target = try Output(path: nil)
      target.write(lines.joined(separator: "\n") + "\n")
      target.flush()
      if let failure = target.failure { throw fail(failure) }
    } catch let error as ProbeError { throw fail("\(error)") }
    if !isComplete { throw Exit.found }
  }

  private func loaded() throws -> [LoadedNginx] {
    if let nginxConfig { return [try LoadedNginx(file: nginxConfig)] }
    let discovery = NginxDiscovery()
    let found = discovery.find().filter { nginx in
      pid.map { $0 == nginx.master || nginx.workers.contains($0) } ?? true
    }
    guard !found.isEmpty else {
      throw ProbeError(
        doing: "find nginx", reason: "no master process runs (\(discovery.whereItLooks))",
        remedy: "give its configuration: upclose doctor --nginx-config /etc/nginx/nginx.conf")
    }
    return try found.map { try $0.load() }
  }

  private func describe(_ nginx: LoadedNginx) -> [String] {
    let title = AuditResult(loaded: nginx, findings: []).title
    var lines = [title]
    for log in nginx.settings.errorLogs {
      let place = log.location.map { " (\($0))" } ?? ""
      lines.append("  error log at level \(log.level.name): \(name(log.target))\(place)")
    }
    for log in accessLogs(nginx) {
      lines.append("  access log \(log.name) in log_format \(log.format)")
      if log.missing.isEmpty {
        lines.append("    it has every field")
        continue
      }
      lines.append("    it lacks, so that it is not known")
      for variable in log.missing {
        lines.append("      \(variable): \(AccessLogFormat.use(of: variable) ?? "")")
      }
    }
    for spot in nginx.blindSpots where !spot.id.hasPrefix("access-log") {
      lines.append(
        "  not seen: \(spot.what): \(spot.cost)" + (spot.remedy.map { "; \($0)" } ?? ""))
    }
    return lines
  }

  private func accessLogs(
    _ nginx: LoadedNginx
  ) -> [(name: String, format: String, missing: [String])] {
    let formats = AccessLogFormats(nginx.directives)
    return nginx.settings.accessLogs.compactMap { log in
      guard let format = log.format else { return nil }
      let missing = formats[format].map { AccessLogFormat.missingFields($0.variables) } ?? []
      return (name(log.target), String(escapingControlsIn: format.utf8), missing)
    }
  }

  private func name(_ target: LogSetting.Target) -> String {
    let text: String =
      switch target {
      case .file(let path), .variable(let path): path
      case .stderr: "standard error"
      case .syslog(let server): "syslog \(server)"
      case .memory: "memory"
      }
    return String(escapingControlsIn: text.utf8)
  }
}
